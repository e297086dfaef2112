//! The processes of a container in a virtual machine, as `ps` would print them: the host has no
//! such processes, so the columns are made here of what the machine's agent says.

use proto::guest::ProcessInfo;
use types::{Error, Timestamp};

use super::top::Top;

/// A column's name on the command line, its title, and what is in it.
type Column = (&'static str, &'static str, fn(&ProcessInfo, i64) -> String);

#[rustfmt::skip]
const COLUMNS: &[Column] = &[
    ("pid", "PID", |p, _| p.pid.to_string()),
    ("ppid", "PPID", |p, _| p.ppid.to_string()),
    ("user", "USER", |p, _| p.user.clone()),
    ("euser", "EUSER", |p, _| p.user.clone()),
    ("uid", "UID", |p, _| p.uid.to_string()),
    ("stat", "STAT", |p, _| p.state.clone()),
    ("state", "S", |p, _| p.state.clone()),
    ("s", "S", |p, _| p.state.clone()),
    ("ni", "NI", |p, _| p.nice.to_string()),
    ("nice", "NI", |p, _| p.nice.to_string()),
    ("c", "C", |p, now| percent(p, now).to_string()),
    ("pcpu", "%CPU", |p, now| format!("{}.0", percent(p, now))),
    ("%cpu", "%CPU", |p, now| format!("{}.0", percent(p, now))),
    ("vsz", "VSZ", |p, _| p.size.to_string()),
    ("rss", "RSS", |p, _| p.resident.to_string()),
    ("nlwp", "NLWP", |p, _| p.threads.to_string()),
    ("tty", "TTY", |p, _| p.terminal.clone()),
    ("tt", "TT", |p, _| p.terminal.clone()),
    ("stime", "STIME", |p, _| began(p)),
    ("start", "START", |p, _| began(p)),
    ("etimes", "ELAPSED", |p, now| now.saturating_sub(p.started).max(0).to_string()),
    ("time", "TIME", |p, _| clock(p.cpu / 100)),
    ("cputime", "TIME", |p, _| clock(p.cpu / 100)),
    ("comm", "COMMAND", |p, _| p.name.clone()),
    ("ucmd", "CMD", |p, _| p.name.clone()),
    ("cmd", "CMD", |p, _| p.command.clone()),
    ("args", "COMMAND", |p, _| p.command.clone()),
    ("command", "COMMAND", |p, _| p.command.clone()),
];

/// What `-ef`, `aux` and their like show.
const FULL: [(&str, &str); 8] = [
    ("user", "UID"),
    ("pid", "PID"),
    ("ppid", "PPID"),
    ("c", "C"),
    ("stime", "STIME"),
    ("tty", "TTY"),
    ("time", "TIME"),
    ("cmd", "CMD"),
];
const AUX: [(&str, &str); 9] = [
    ("user", "USER"),
    ("pid", "PID"),
    ("%cpu", "%CPU"),
    ("vsz", "VSZ"),
    ("rss", "RSS"),
    ("tty", "TTY"),
    ("stat", "STAT"),
    ("start", "START"),
    ("command", "COMMAND"),
];

/// Prints the processes for ps(1)'s arguments.
///
/// # Errors
/// [`types::ErrorKind::Invalid`] for arguments that are not known here.
pub(super) fn print(words: &[String], processes: &[ProcessInfo]) -> Result<Top, Error> {
    let now = Timestamp::now().seconds();
    let columns = columns(words)?;
    let titles = columns.iter().map(|(_, title)| title.clone()).collect();
    let rows = processes
        .iter()
        .map(|process| columns.iter().map(|(show, _)| show(process, now)).collect());
    Ok(Top { titles, processes: rows.collect() })
}

type Shown = (fn(&ProcessInfo, i64) -> String, String);

fn columns(words: &[String]) -> Result<Vec<Shown>, Error> {
    let unknown = |what: &str| {
        Error::invalid(format!(
            "ps: {what:?} is not known for containers in virtual machines; use -ef, aux, or -o with \
             columns such as pid,ppid,user,stat,time,args"
        ))
    };
    let find = |name: &str, title: Option<&str>| {
        let found = COLUMNS.iter().find(|(known, _, _)| *known == name);
        let (_, usual, show) = found.ok_or_else(|| unknown(name))?;
        Ok::<Shown, Error>((*show, title.unwrap_or(usual).to_owned()))
    };
    let mut chosen = Vec::new();
    let mut preset: &[(&str, &str)] = &FULL;
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let list = match word {
            "-e" | "-A" | "-f" | "-ef" | "-fe" | "ax" | "-ax" => continue,
            "aux" | "-aux" | "u" | "axu" => {
                preset = &AUX;
                continue;
            }
            "-o" | "o" | "-eo" | "axo" | "-axo" | "--format" => {
                words.next().ok_or_else(|| unknown(word))?
            }
            other => other
                .strip_prefix("-eo")
                .or_else(|| other.strip_prefix("-o"))
                .ok_or_else(|| unknown(other))?,
        };
        // `name=TITLE` is the last of its list: titles may have commas.
        let mut rest = list;
        while !rest.is_empty() {
            let end = rest.find([',', '=']).unwrap_or(rest.len());
            let (name, tail) = rest.split_at(end);
            if let Some(title) = tail.strip_prefix('=') {
                chosen.push(find(name, Some(title))?);
                break;
            }
            chosen.push(find(name, None)?);
            rest = tail.strip_prefix(',').unwrap_or_default();
        }
    }
    if chosen.is_empty() {
        return preset.iter().map(|(name, title)| find(name, Some(title))).collect();
    }
    Ok(chosen)
}

/// CPU time as a share of its life.
fn percent(process: &ProcessInfo, now: i64) -> u64 {
    let life = u64::try_from(now - process.started).unwrap_or(0).max(1);
    (process.cpu / life).min(99)
}

fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Hour and minute, in the daemon's time as ps has it.
fn began(process: &ProcessInfo) -> String {
    let day = process.started.rem_euclid(86_400);
    format!("{:02}:{:02}", day / 3600, day / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(arguments: &str) -> Result<Top, Error> {
        let process = ProcessInfo {
            pid: 42,
            ppid: 1,
            user: "web".to_owned(),
            state: "S".to_owned(),
            terminal: "?".to_owned(),
            cpu: 12_345,
            command: "sleep 10".to_owned(),
            name: "sleep".to_owned(),
            ..ProcessInfo::default()
        };
        let words: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        print(&words, &[process])
    }

    #[test]
    fn the_usual_columns_have_their_usual_names() {
        let top = printed("-ef").expect("known");
        assert_eq!(top.titles, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
        let expected = ["web", "42", "1", "0", "00:00", "?", "00:02:03", "sleep 10"];
        assert_eq!(top.processes, [expected.map(str::to_owned).to_vec()]);
        assert_eq!(printed("aux").expect("known").titles[0], "USER");
    }

    #[test]
    fn columns_can_be_chosen_and_named() {
        let top = printed("-eo pid,comm").expect("known");
        assert_eq!(
            (top.titles, top.processes[0].clone()),
            (vec!["PID".into(), "COMMAND".into()], vec!["42".into(), "sleep".into()])
        );
        let top = printed("-o pid=NUMBER -o args").expect("known");
        assert_eq!(top.titles, ["NUMBER", "COMMAND"]);
        for unknown in ["-eo label", "--forest", "-o"] {
            assert!(printed(unknown).is_err(), "{unknown}");
        }
    }
}
