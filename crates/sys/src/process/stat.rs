//! What the kernel tells of a process in `/proc/PID/stat`.

use std::io;
use std::str::FromStr;

/// `PF_EXITING` in field 9 (`include/linux/sched.h`): the process has begun to exit.
const EXITING: u32 = 0x4;
/// The number of the first field behind the name, the state (`proc_pid_stat(5)`).
const STATE: usize = 3;

/// The line of one process in `/proc/PID/stat`, at the time when it was read.
#[derive(Debug)]
pub struct Stat(String);

impl Stat {
    /// That of a process, or of one of its threads.
    ///
    /// # Errors
    /// Those of reading a file; `ENOENT` or `ESRCH` when there is no such process any more.
    pub fn of(pid: i32) -> io::Result<Stat> {
        Self::read(&format!("/proc/{pid}/stat"))
    }

    /// That of the caller.
    ///
    /// # Errors
    /// Those of reading a file.
    pub fn own() -> io::Result<Stat> {
        Self::read("/proc/self/stat")
    }

    fn read(path: &str) -> io::Result<Stat> {
        // The name may be of any bytes.
        std::fs::read(path).map(|line| Stat(String::from_utf8_lossy(&line).into_owned()))
    }

    /// One of the fields behind the name, by its number in `proc_pid_stat(5)`, 3 and up; none when
    /// it is missing or is nothing of the kind.
    pub fn field<T: FromStr>(&self, number: usize) -> Option<T> {
        // The name stands in brackets, and may itself have blanks and brackets.
        let (_, rest) = self.0.rsplit_once(')')?;
        rest.split_ascii_whitespace().nth(number.checked_sub(STATE)?)?.parse().ok()
    }

    /// Whether it has ended and only waits for its parent.
    pub fn has_ended(&self) -> bool {
        matches!(self.field(STATE), Some('Z' | 'X'))
    }

    /// Whether it has ended or has begun to: then it runs no instruction of its own any more.
    pub fn is_exiting(&self) -> bool {
        self.has_ended() || self.field(9).is_some_and(|flags: u32| flags & EXITING != 0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn fields_are_counted_behind_a_hostile_name() {
        let rest = (4..=52).map(|field| (field * 100).to_string()).collect::<Vec<_>>().join(" ");
        let stat = Stat(format!("1 (a) R (c)) S {rest}"));
        assert_eq!(stat.field(3), Some('S'));
        assert_eq!(stat.field(48), Some(4800));
        assert_eq!(stat.field::<u8>(48), None);
        assert_eq!(stat.field::<i32>(53), None);
        assert_eq!(stat.field::<i32>(2), None);
        assert_eq!(Stat("1 (x".into()).field::<char>(3), None);
    }

    #[test]
    fn a_name_may_be_of_any_bytes() {
        std::fs::write("/proc/self/comm", b"\xff) Z").unwrap();
        assert!(!Stat::own().unwrap().has_ended());
    }

    #[test]
    fn a_process_lives_until_it_exits_and_is_a_zombie_until_it_is_reaped() {
        let own = Stat::own().unwrap();
        assert!(!own.has_ended() && !own.is_exiting());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let pidfd = crate::process::pidfd_open(pid).unwrap();
        assert!(crate::poll::readable_within(&pidfd, Duration::from_secs(60)).unwrap());
        let ended = Stat::of(pid).unwrap();
        assert!(ended.has_ended() && ended.is_exiting());
        child.wait().unwrap();
        assert!(Stat::of(pid).is_err());
        let flags = |flags: u32| Stat(format!("1 (x) D 0 1 1 0 -1 {flags} 0"));
        assert!(flags(0x40_0004).is_exiting() && !flags(0x40_0100).is_exiting());
    }
}
