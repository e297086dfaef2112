//! A build as lines, as BuildKit prints it where there is no terminal. One step speaks at a time;
//! what the others have to say waits until it is done, or has been silent for a while.

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, Instant};

use super::board::{Board, Item, State, Step};
use crate::show::human;

/// How long a step may be silent before another one speaks.
const PATIENCE: Duration = Duration::from_secs(2);

/// What has been printed.
#[derive(Debug, Default)]
pub(super) struct Lines {
    told: HashMap<u32, Told>,
    /// Who speaks.
    speaker: Option<u32>,
    /// When it last did.
    spoke: Option<Instant>,
    /// Whose heading was printed last.
    printed: Option<u32>,
}

/// What has been printed of one step.
#[derive(Debug, Default)]
struct Told {
    head: bool,
    lines: usize,
    items: HashMap<String, String>,
    over: bool,
}

impl Lines {
    /// Something about a step is new.
    pub(super) fn update(&mut self, board: &Board, step: Option<u32>, out: &mut impl Write) {
        let Some(number) = step else { return };
        if self.speaker.is_none() {
            self.speaker = Some(number);
        }
        if self.speaker == Some(number) {
            self.speak(board, out);
        }
    }

    /// Lets others speak when the speaker has nothing to say.
    pub(super) fn tick(&mut self, board: &Board, out: &mut impl Write) {
        let silent = self.spoke.is_none_or(|at| at.elapsed() > PATIENCE);
        if !silent {
            return;
        }
        let Some(next) = self.next(board) else { return };
        if let Some(speaker) = self.speaker.filter(|speaker| self.printed == Some(*speaker)) {
            let _ = writeln!(out, "#{} ...", speaker + 1);
        }
        self.speaker = Some(next);
        self.speak(board, out);
    }

    /// Everything that is left.
    pub(super) fn last(&mut self, board: &Board, out: &mut impl Write) {
        self.speak(board, out);
        while let Some(next) = self.next(board) {
            self.speaker = Some(next);
            self.one(board, next, out);
        }
    }

    /// Someone else with something to say; who is done comes first.
    fn next(&self, board: &Board) -> Option<u32> {
        let waiting = || {
            board
                .begun
                .iter()
                .map(|index| &board.steps[*index])
                .filter(|step| self.has_news(step) && self.speaker != Some(step.number))
        };
        waiting().find(|step| step.is_over()).or_else(|| waiting().next()).map(|step| step.number)
    }

    fn has_news(&self, step: &Step) -> bool {
        let Some(told) = self.told.get(&step.number) else { return true };
        !told.over && (step.is_over() || told.lines < step.logged)
    }

    /// Prints what the speaker has to say; when it is done, those who are done as well follow.
    fn speak(&mut self, board: &Board, out: &mut impl Write) {
        let mut next = self.speaker;
        while let Some(number) = next {
            self.speaker = Some(number);
            self.one(board, number, out);
            let over = self.told.get(&number).is_some_and(|told| told.over);
            if !over {
                return;
            }
            self.speaker = None;
            next = self.next(board);
        }
    }

    fn one(&mut self, board: &Board, number: u32, out: &mut impl Write) {
        let Some(step) = board.find(number) else { return };
        if step.began.is_none() {
            return;
        }
        let told = self.told.entry(number).or_default();
        if told.over {
            return;
        }
        let id = number + 1;
        let mut text = String::new();
        for item in &step.items {
            let shown = shown(item);
            let old = told.items.get(&item.name);
            // Only beginnings and ends are worth a line.
            let worth = old.is_none() || item.is_done() || (item.current, item.total) == (0, 0);
            if worth && old != Some(&shown) {
                text.push_str(&format!("#{id} {shown}\n"));
                told.items.insert(item.name.clone(), shown);
            }
        }
        let new = step.logged - told.lines;
        for (seconds, line) in step.log.iter().skip(step.log.len().saturating_sub(new)) {
            text.push_str(&format!("#{id} {seconds:.3} {line}\n"));
        }
        told.lines = step.logged;
        let seconds = board.seconds_of(step);
        match &step.state {
            State::Waiting | State::Running => {}
            State::Done => text.push_str(&format!("#{id} DONE {seconds:.1}s\n")),
            State::Cached => text.push_str(&format!("#{id} CACHED\n")),
            State::Failed(message) => text.push_str(&format!("#{id} ERROR: {message}\n")),
            State::Cancelled => text.push_str(&format!("#{id} CANCELED\n")),
        }
        told.over = step.is_over();
        if text.is_empty() && told.head {
            return;
        }
        told.head = true;
        if self.printed != Some(number) {
            let blank = if self.printed.is_some() { "\n" } else { "" };
            let _ = writeln!(out, "{blank}#{id} {}", step.label);
            self.printed = Some(number);
        }
        self.spoke = Some(Instant::now());
        let _ = out.write_all(text.as_bytes());
    }
}

/// `transferring 3.2MB / 12MB done`.
fn shown(item: &Item) -> String {
    let size = |bytes: u64| human::size(i64::try_from(bytes).unwrap_or(i64::MAX), 4);
    let mut text = match (item.status.as_str(), item.name.as_str()) {
        ("done", name) | ("", name) => name.to_owned(),
        (status, name) => format!("{status} {name}"),
    };
    match (item.current, item.total) {
        (0, 0) => {}
        (current, 0) => text.push_str(&format!(" {}", size(current))),
        (current, total) => text.push_str(&format!(" {} / {}", size(current), size(total))),
    }
    if item.status == "done" {
        text.push_str(" done");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use docker_api::build::{BuildEvent, BuildStep};
    use types::Timestamp;

    fn step(number: u32, kind: &str, name: &str, index: u32, of: u32) -> BuildStep {
        let stage = if index > 0 { "stage-0" } else { "" };
        BuildStep {
            number,
            kind: kind.to_owned(),
            stage: stage.to_owned(),
            name: name.to_owned(),
            index,
            of,
            line: 0,
        }
    }

    fn at(tenths: i64) -> Timestamp {
        Timestamp(1_000_000_000_000 + tenths * 100_000_000)
    }

    fn shown(events: Vec<BuildEvent>) -> String {
        let (mut board, mut lines, mut out) = (Board::default(), Lines::default(), Vec::new());
        for event in events {
            let step = super::super::board::step_of(&event);
            board.take(event);
            lines.update(&board, step, &mut out);
        }
        lines.last(&board, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn steps_speak_one_after_the_other() {
        let plan = vec![
            step(0, "internal", "load build context", 0, 0),
            step(1, "step", "FROM busybox", 1, 3),
            step(2, "step", "RUN a", 2, 3),
            step(3, "step", "RUN b", 3, 3),
        ];
        let log = |step, data: &str| BuildEvent::Log { step, stream: 1, data: data.to_owned() };
        let progress = |status: &str, current| BuildEvent::Progress {
            step: 0,
            item: "context".to_owned(),
            status: status.to_owned(),
            current,
            total: 0,
        };
        let failed = BuildEvent::Failed {
            step: 3,
            message: "exit code: 1".to_owned(),
            cancelled: false,
            at: at(9),
        };
        let text = shown(vec![
            BuildEvent::Plan { steps: plan },
            BuildEvent::Started { step: 0, at: at(0) },
            progress("transferring", 5),
            BuildEvent::Started { step: 2, at: at(1) },
            log(2, "half a "),
            log(2, "line\nrest"),
            progress("done", 5),
            BuildEvent::Finished { step: 0, cached: false, at: at(2) },
            BuildEvent::Finished { step: 1, cached: true, at: at(3) },
            BuildEvent::Finished { step: 2, cached: false, at: at(4) },
            BuildEvent::Started { step: 3, at: at(5) },
            failed,
        ]);
        // Times of output are the listener's clock's; they are left out here.
        let words: Vec<&str> = text
            .lines()
            .map(|line| if line.contains("half a") { "#3 T half a line" } else { line })
            .collect();
        assert_eq!(
            words,
            [
                "#1 [internal] load build context",
                "#1 transferring context 5B",
                "#1 context 5B done",
                "#1 DONE 0.2s",
                "",
                "#3 [2/3] RUN a",
                "#3 T half a line",
                "#3 0.300 rest",
                "#3 DONE 0.3s",
                "",
                "#2 [1/3] FROM busybox",
                "#2 CACHED",
                "",
                "#4 [3/3] RUN b",
                "#4 ERROR: exit code: 1",
            ]
        );
    }
}
