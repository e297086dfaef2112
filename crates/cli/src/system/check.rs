//! `check`: whether all images, layers and blobs are what they should be.

use std::io::{IsTerminal as _, Write as _};

use docker_api::check::{CheckLine, CheckOutcome, CheckProblem, CheckSubject};
use docker_api::client::{JsonStream, Method, Target, empty};

use crate::failure::Failure;
use crate::session::Session;
use crate::show::human;

/// `check`'s options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Say only what is wrong
    #[arg(short, long)]
    quiet: bool,
    /// Put right what can be put right
    #[arg(long)]
    repair: bool,
}

pub(crate) async fn check(session: &Session, args: Args) -> anyhow::Result<u8> {
    let target = Target::new("/system/check").flag("repair", args.repair);
    let client = session.client()?;
    let mut lines: JsonStream<CheckLine> =
        match client.json_stream(Method::POST, &target, None, empty()).await {
            Err(error) if matches!(error.status(), Some(404 | 405)) => anyhow::bail!(
                "the daemon at {} cannot check its images; isopod's can",
                client.endpoint()
            ),
            other => other?,
        };
    let mut meter = Meter::new(!args.quiet && std::io::stderr().is_terminal());
    while let Some(line) = lines.next().await? {
        match line {
            CheckLine::Checking { subject, done, total } => meter.show(&subject, done, total),
            CheckLine::Found(problem) => {
                meter.clear();
                session.text(&describe(&problem));
            }
            CheckLine::Report { images, layers, blobs, bytes, problems, solved } => {
                meter.clear();
                let bytes = human::size(i64::try_from(bytes).unwrap_or(i64::MAX), 4);
                if !args.quiet {
                    session.line(&format!(
                        "Checked {images} images, {layers} layers and {blobs} blobs, {bytes}."
                    ));
                }
                return finish(session, &args, problems, solved);
            }
            CheckLine::Failed { message } => {
                meter.clear();
                anyhow::bail!("{message}");
            }
        }
    }
    anyhow::bail!("the daemon broke the check off; its log says why")
}

fn finish(session: &Session, args: &Args, problems: u64, solved: u64) -> anyhow::Result<u8> {
    let left = problems.saturating_sub(solved);
    if problems == 0 {
        if !args.quiet {
            session.line("Everything is as it should be.");
        }
        return Ok(0);
    }
    let many = |count: u64| match count {
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    };
    if left == 0 {
        session.line(&format!("{} found and solved.", many(problems)));
        return Ok(0);
    }
    let remedy = if args.repair {
        "what is still wrong has to be pulled, loaded or built again"
    } else {
        "run isopod system check --repair to put right what can be"
    };
    Err(Failure::with(1, format!("{} found, {left} left: {remedy}", many(problems))))
}

fn named(subject: &CheckSubject) -> String {
    match subject {
        CheckSubject::Image(id) => format!("image {}", human::short_id(id)),
        CheckSubject::Layer(id) => format!("layer {}", human::short_id(id)),
        CheckSubject::Blob(id) => format!("blob {}", human::short_id(id)),
        CheckSubject::File(path) => format!("file {path}"),
    }
}

/// A problem, whom it concerns, and what became of it.
fn describe(problem: &CheckProblem) -> String {
    let mut text = format!("{}: {}\n", named(&problem.subject), problem.fault);
    for (what, names) in [("images", &problem.images), ("containers", &problem.containers)] {
        if !names.is_empty() {
            let names: Vec<&str> = names
                .iter()
                .map(|name| if name.len() >= 64 { human::short_id(name) } else { name })
                .collect();
            text.push_str(&format!("    {what}: {}\n", names.join(", ")));
        }
    }
    let outcome = match &problem.outcome {
        CheckOutcome::Reported(offer) => format!("can be solved: {offer}"),
        CheckOutcome::Repaired(how) => format!("repaired: {how}"),
        CheckOutcome::Dropped(images) => {
            format!("gone, pull, load or build again: {}", images.join(", "))
        }
        CheckOutcome::Removed => "removed".to_owned(),
        CheckOutcome::Hopeless(why) => format!("nothing can be done: {why}"),
        CheckOutcome::Failed(why) => format!("repairing failed: {why}"),
    };
    text.push_str(&format!("    {outcome}\n"));
    text
}

/// How far it has come, on one line that is written over.
struct Meter {
    shown: bool,
    dirty: bool,
}

impl Meter {
    fn new(shown: bool) -> Self {
        Self { shown, dirty: false }
    }

    fn show(&mut self, subject: &CheckSubject, done: u64, total: u64) {
        if !self.shown {
            return;
        }
        self.dirty = true;
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(0);
        let mut err = std::io::stderr().lock();
        let _ = write!(err, "\r\x1b[K{percent:>3}% {}", named(subject));
        let _ = err.flush();
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.dirty) {
            let mut err = std::io::stderr().lock();
            let _ = write!(err, "\r\x1b[K");
            let _ = err.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_whom_it_concerns_and_what_became_of_it() {
        let problem = CheckProblem {
            subject: CheckSubject::Layer(format!("sha256:{}", "a".repeat(64))),
            fault: "a file is missing".to_owned(),
            images: vec!["app:1".to_owned(), format!("sha256:{}", "b".repeat(64))],
            containers: Vec::new(),
            outcome: CheckOutcome::Repaired("unpacked again from its blob".to_owned()),
        };
        assert_eq!(
            describe(&problem),
            "layer aaaaaaaaaaaa: a file is missing\n    images: app:1, bbbbbbbbbbbb\n    repaired: unpacked again from its blob\n"
        );
    }
}
