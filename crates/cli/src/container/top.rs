//! `top`.

use docker_api::client::Target;
use docker_api::container::TopResponse;

use crate::session::Session;
use crate::show::table::Table;

/// `top`'s arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Container and options of ps(1)
    #[arg(value_name = "CONTAINER")]
    words: Vec<String>,
}

pub(crate) async fn top(session: &Session, args: Args) -> anyhow::Result<u8> {
    let (name, options) = args.words.split_first().map_or(("", &[][..]), |(n, o)| (n.as_str(), o));
    let target = Target::named("/containers", name, "/top")
        .maybe("ps_args", (!options.is_empty()).then(|| options.join(" ")));
    let top: TopResponse = session.client()?.get(&target).await?;
    let mut table = Table::with_minimum(20);
    table.row(&top.titles.join("\t"));
    for process in &top.processes {
        table.row(&process.join("\t"));
    }
    session.text(&table.render());
    Ok(0)
}
