//! The container's processes, as `ps` would show them.

use std::collections::BTreeMap;
use std::path::Path;

use proto::guest::ProcessInfo;
use proto::guest::frame::MAX_FROM_GUEST;

/// So many are told at most.
const MOST: usize = 2048;

/// So many characters of a command line are told: fewer where all of it would be too long, in these
/// steps. How long it is, is for the container to say, and a control character is six bytes of JSON.
const COMMANDS: [usize; 4] = [1024, 256, 64, 16];

/// Bytes for all of them together; what a message has besides is far less than what is left of it.
const ROOM: usize = MAX_FROM_GUEST - 4096;

/// Clock ticks a second, as user space sees them on every architecture (proc(5)).
const TICKS: i64 = 100;

/// Those of these processes that are still there.
pub(crate) fn list(pids: &[i32], root: &Path) -> Vec<ProcessInfo> {
    let names = users(root);
    let booted = boot_time();
    let one = |pid: &i32| {
        let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).ok();
        let stat = String::from_utf8_lossy(&read("stat")?).into_owned();
        let status = String::from_utf8_lossy(&read("status")?).into_owned();
        let command = read("cmdline").unwrap_or_default();
        let mut info = parse(*pid, &stat, &status, &command, booted)?;
        info.user = names.get(&info.uid).cloned().unwrap_or_else(|| info.uid.to_string());
        Some(info)
    };
    fit(pids.iter().take(MOST).filter_map(one).collect(), ROOM)
}

/// Makes a list that is no longer than `room` as JSON: cuts command lines first, then leaves out the
/// last processes.
fn fit(mut list: Vec<ProcessInfo>, room: usize) -> Vec<ProcessInfo> {
    let mut lengths = Vec::new();
    for most in COMMANDS {
        for process in &mut list {
            if let Some((end, _)) = process.command.char_indices().nth(most) {
                process.command.truncate(end);
            }
        }
        lengths = list.iter().map(length).collect();
        if lengths.iter().sum::<usize>() <= room {
            return list;
        }
    }
    let sums = lengths.iter().scan(0, |sum, length| {
        *sum += length;
        Some(*sum)
    });
    list.truncate(sums.take_while(|sum| *sum <= room).count());
    list
}

/// Bytes of a process as JSON, with what parts it from the next.
fn length(process: &ProcessInfo) -> usize {
    serde_json::to_vec(process).map_or(0, |json| json.len() + 1)
}

fn users(root: &Path) -> BTreeMap<u32, String> {
    const LIMIT: u64 = 4 << 20;
    let text = sys::fs::Root::open_host(root).and_then(|root| root.read("/etc/passwd", LIMIT));
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    let mut names = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(uid)) = (fields.next(), fields.nth(1))
            && let Ok(uid) = uid.parse()
        {
            names.entry(uid).or_insert_with(|| name.chars().take(64).collect());
        }
    }
    names
}

fn boot_time() -> i64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
}

/// proc(5): the second field of `stat` is the name in brackets and may have blanks and brackets.
fn parse(pid: i32, stat: &str, status: &str, command: &[u8], booted: i64) -> Option<ProcessInfo> {
    let (head, rest) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    let kilobytes = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|text| text.split_ascii_whitespace().next())
            .and_then(|text| text.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let words: Vec<_> = command.split(|byte| *byte == 0).filter(|word| !word.is_empty()).collect();
    let mut line = String::from_utf8_lossy(&words.join(&b' ')).into_owned();
    if line.is_empty() {
        line = format!("[{name}]");
    }
    let whole = |value: i64| u64::try_from(value).unwrap_or(0);
    Some(ProcessInfo {
        pid,
        ppid: i32::try_from(number(1)).ok()?,
        uid: u32::try_from(kilobytes("Uid:")).ok()?,
        user: String::new(),
        state: (*fields.first()?).to_owned(),
        started: booted + number(19) / TICKS,
        cpu: whole(number(11) + number(12)),
        terminal: terminal(number(4)),
        size: kilobytes("VmSize:"),
        resident: kilobytes("VmRSS:"),
        threads: whole(number(17)),
        nice: number(16),
        name,
        command: line.chars().take(COMMANDS[0]).collect(),
    })
}

/// The name of a terminal's device number: major 136 to 143 are those of devpts.
fn terminal(device: i64) -> String {
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    if (136..144).contains(&major) {
        format!("pts/{}", (major - 136) * 256 + minor)
    } else {
        "?".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_a_hostile_name_is_read() {
        let mut fields = vec!["0"; 45];
        (fields[0], fields[1], fields[4]) = ("S", "7", "34818");
        (fields[11], fields[12], fields[16], fields[17]) = ("10", "5", "-5", "3");
        fields[19] = "250";
        let stat = format!("42 (a) b (c)) {}", fields.join(" "));
        let status = "Name:\tx\nUid:\t33\t33\t33\t33\nVmSize:\t  900 kB\nVmRSS:\t 80 kB\n";
        let info = parse(42, &stat, status, b"sh\0-c\0sleep 1\0", 1000).expect("parsed");
        let expected = ProcessInfo {
            pid: 42,
            ppid: 7,
            uid: 33,
            user: String::new(),
            state: "S".to_owned(),
            started: 1002,
            cpu: 15,
            terminal: "pts/2".to_owned(),
            size: 900,
            resident: 80,
            threads: 3,
            nice: -5,
            name: "a) b (c)".to_owned(),
            command: "sh -c sleep 1".to_owned(),
        };
        assert_eq!(info, expected);
        let kernel = parse(42, &stat, status, b"", 0).expect("parsed");
        assert_eq!(kernel.command, "[a) b (c)]");
        assert_eq!(parse(42, "nonsense", status, b"", 0), None);
    }

    #[test]
    fn however_long_the_command_lines_are_the_list_fits_in_a_message() {
        let command = "\u{1}".repeat(COMMANDS[0]);
        let process = |pid| ProcessInfo { pid, command: command.clone(), ..ProcessInfo::default() };
        let few = fit((1..=3).map(process).collect(), ROOM);
        assert!(few.iter().all(|process| process.command == command), "there is room for three");

        let number = i32::try_from(MOST).expect("small");
        let many = fit((1..=number).map(process).collect(), ROOM);
        assert_eq!((many.len(), many[0].command.len()), (MOST, COMMANDS[1]));
        let reply = Ok(proto::guest::Reply::Processes(many));
        let message = proto::guest::FromGuest::Reply { number: u32::MAX, result: reply };
        let mut bytes = Vec::new();
        proto::guest::frame::message(&mut bytes, proto::guest::Side::Guest, &message)
            .expect("fits");

        let most = fit((1..=number).map(process).collect(), 800);
        let numbers: Vec<i32> = most.iter().map(|process| process.pid).collect();
        assert_eq!(
            numbers,
            [1, 2, 3],
            "the first that fit, their command lines as short as can be"
        );
    }
}
