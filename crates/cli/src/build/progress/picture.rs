//! A build as a picture on a terminal that is painted again and again.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::board::{Board, Item, State, Step};
use crate::show::human;

/// How often it may change.
const PACE: Duration = Duration::from_millis(80);

/// Lines of output shown of a step that runs.
const WINDOW: usize = 6;

/// The picture.
#[derive(Debug)]
pub(super) struct Picture {
    colours: bool,
    painted: Option<Instant>,
    /// Lines on the screen.
    height: usize,
}

/// A line, and how it looks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    text: String,
    /// Stands at the right end.
    time: String,
    colour: Colour,
    /// Rows with the highest go first when there is no room.
    spare: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colour {
    None,
    Done,
    Failed,
    Cut,
}

impl Colour {
    fn code(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Done => "\x1b[34m",
            Self::Failed => "\x1b[31m",
            Self::Cut => "\x1b[33m",
        }
    }
}

impl Picture {
    pub(super) fn new(colours: bool) -> Self {
        Self { colours, painted: None, height: 0 }
    }

    /// Paints it, unless it has just been painted.
    pub(super) fn paint(&mut self, board: &Board, out: &mut Vec<u8>) {
        if board.steps.is_empty() || self.painted.is_some_and(|at| at.elapsed() < PACE) {
            return;
        }
        self.painted = Some(Instant::now());
        let (rows, columns) = size();
        let room = rows.saturating_sub(2).max(1);
        let mut lines = steps(board, true);
        fit(&mut lines, room);
        self.put(&head(board, board.seconds(), ""), &lines, columns, out);
    }

    /// Paints it for the last time: all that was done, and no windows.
    pub(super) fn last(&mut self, board: &Board, failed: bool, out: &mut Vec<u8>) {
        let (_, columns) = size();
        let end = if failed { "" } else { " FINISHED" };
        self.put(&head(board, board.total(), end), &steps(board, false), columns, out);
        self.height = 0;
    }

    fn put(&mut self, head: &str, rows: &[Row], columns: usize, out: &mut Vec<u8>) {
        let mut text = String::new();
        if self.height > 0 {
            let _ = write!(text, "\x1b[{}A\r", self.height);
        }
        let _ = writeln!(text, "{}\x1b[K", human::ellipsis(head, columns));
        for row in rows {
            let line = row.fit(columns);
            match (self.colours, row.colour.code()) {
                (false, _) | (_, "") => _ = writeln!(text, "{line}\x1b[K"),
                (true, code) => _ = writeln!(text, "{code}{line}\x1b[0m\x1b[K"),
            }
        }
        text.push_str("\x1b[J");
        self.height = rows.len() + 1;
        out.extend(text.bytes());
    }
}

fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stderr()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row.into(), size.ws_col.into()),
        _ => (24, 80),
    }
}

/// `[+] Building 3.4s (5/9)`.
fn head(board: &Board, seconds: f64, end: &str) -> String {
    let over = board.steps.iter().filter(|step| step.is_over()).count();
    format!("[+] Building {seconds:.1}s ({over}/{}){end}", board.steps.len())
}

/// A line for each step that has begun, in that order, and what belongs to it.
fn steps(board: &Board, live: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    let running =
        board.begun.iter().filter(|index| board.steps[**index].state == State::Running).count();
    let window = WINDOW.min(if running > 2 { 3 } else { WINDOW });
    for index in &board.begun {
        let step = &board.steps[*index];
        let seconds = board.seconds_of(step);
        let time = format!(" {seconds:.1}s");
        let (mark, colour) = match step.state {
            State::Waiting | State::Running => ("", Colour::None),
            State::Done => ("", Colour::Done),
            State::Cached => ("CACHED ", Colour::Done),
            State::Failed(_) => ("ERROR ", Colour::Failed),
            State::Cancelled => ("CANCELED ", Colour::Cut),
        };
        let text = format!(" => {mark}{}", clean(&step.label));
        // What is done goes before what runs when there is no room.
        let spare = if step.is_over() { 2 } else { 0 };
        rows.push(Row { text, time, colour, spare });
        for item in &step.items {
            let colour = if item.is_done() { Colour::Done } else { colour };
            let spare = if item.is_done() || step.is_over() { 3 } else { 1 };
            rows.push(Row { text: part(item), time: String::new(), colour, spare });
        }
        if live && step.state == State::Running {
            rows.extend(tail(step, window));
        }
    }
    rows
}

/// The last lines of a step's output.
fn tail(step: &Step, window: usize) -> impl Iterator<Item = Row> + '_ {
    let hidden = step.log.len().saturating_sub(window);
    step.log.iter().skip(hidden).map(|(_, line)| Row {
        text: format!(" => => # {}", clean(line)),
        time: String::new(),
        colour: Colour::None,
        spare: 1,
    })
}

/// ` => => extracting sha256:0123… 3.2MB / 12MB`.
fn part(item: &Item) -> String {
    let size = |bytes: u64| human::size(i64::try_from(bytes).unwrap_or(i64::MAX), 4);
    let name = match item.name.strip_prefix("sha256:") {
        Some(digits) => format!("sha256:{}", human::short_id(digits)),
        None => clean(&item.name),
    };
    let mut text = format!(" => => {}", if item.status == "done" { "" } else { &item.status });
    if !text.ends_with(' ') {
        text.push(' ');
    }
    text.push_str(&name);
    match (item.current, item.total) {
        (0, 0) => {}
        (current, 0) => _ = write!(text, " {}", size(current)),
        (current, total) => _ = write!(text, " {} / {}", size(current), size(total)),
    }
    if item.status == "done" {
        text.push_str(" done");
    }
    text
}

/// Takes away rows until they fit, those that are missed least first, and of these the oldest.
fn fit(rows: &mut Vec<Row>, room: usize) {
    for spare in [3, 2, 1] {
        let mut excess = rows.len().saturating_sub(room);
        rows.retain(|row| {
            let gone = excess > 0 && row.spare == spare;
            excess -= usize::from(gone);
            !gone
        });
    }
    let excess = rows.len().saturating_sub(room);
    rows.drain(..excess);
}

/// Text that moves no cursor and changes no colour. Of a line that was written over, what was
/// written last is shown.
fn clean(text: &str) -> String {
    let last = text.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default();
    let mut out = String::new();
    let mut chars = last.chars();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => match chars.next() {
                // A control sequence ends with a letter or the like.
                Some('[') => drop(chars.find(|c| ('@'..='~').contains(c))),
                // A title and its like end with a bell or a string terminator.
                Some(']') => drop(chars.find(|c| matches!(c, '\x07' | '\\'))),
                _ => {}
            },
            '\t' => out.push_str("    "),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

impl Row {
    /// The text, cut and filled up so that the time stands at the right end.
    fn fit(&self, columns: usize) -> String {
        let room = columns.saturating_sub(self.time.chars().count());
        let text = human::ellipsis(&self.text, room);
        if self.time.is_empty() {
            return text;
        }
        let blanks = room.saturating_sub(text.chars().count());
        format!("{text}{}{}", " ".repeat(blanks), self.time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use docker_api::build::{BuildEvent, BuildStep};
    use types::Timestamp;

    fn board() -> Board {
        let step = |number, kind: &str, stage: &str, name: &str, index| BuildStep {
            number,
            kind: kind.to_owned(),
            stage: stage.to_owned(),
            name: name.to_owned(),
            index,
            of: 2,
            line: 0,
        };
        let mut board = Board::default();
        board.take(BuildEvent::Plan {
            steps: vec![
                step(0, "pull", "base", "FROM busybox", 1),
                step(1, "step", "base", "RUN make", 2),
                step(2, "step", "stage-1", "RUN true", 1),
                step(3, "export", "", "exporting to image", 0),
            ],
        });
        let at = |tenths: i64| Timestamp(1_000_000_000_000 + tenths * 100_000_000);
        board.take(BuildEvent::Started { step: 0, at: at(0) });
        board.take(BuildEvent::Progress {
            step: 0,
            item: format!("sha256:{}", "ab".repeat(32)),
            status: "downloading".to_owned(),
            current: 1_000_000,
            total: 2_000_000,
        });
        board.take(BuildEvent::Finished { step: 0, cached: false, at: at(12) });
        board.take(BuildEvent::Finished { step: 2, cached: true, at: at(13) });
        board.take(BuildEvent::Started { step: 1, at: at(14) });
        for line in 0..9 {
            let data = format!("\x1b[31mline\x1b[0m {line}\n");
            board.take(BuildEvent::Log { step: 1, stream: 1, data });
        }
        board
    }

    #[test]
    fn steps_that_run_show_a_window_of_their_output() {
        let rows = steps(&board(), true);
        let text: Vec<String> = rows.iter().map(|row| row.fit(60)).collect();
        assert_eq!(text[0], format!(" => [base 1/2] FROM busybox{} 1.2s", " ".repeat(28)));
        assert_eq!(text[1], " => => downloading sha256:abababababab 1MB / 2MB");
        assert!(text[2].starts_with(" => CACHED [stage-1 1/2] RUN true "), "{text:?}");
        assert!(text[3].starts_with(" => [base 2/2] RUN make "), "{text:?}");
        assert_eq!(text[4..], (3..9).map(|n| format!(" => => # line {n}")).collect::<Vec<_>>());
        assert_eq!(head(&board(), 1.25, ""), "[+] Building 1.2s (2/4)");
    }

    #[test]
    fn what_is_missed_least_goes_when_there_is_no_room() {
        let mut rows = steps(&board(), true);
        fit(&mut rows, 7);
        let text: Vec<String> = rows.iter().map(|row| row.text.clone()).collect();
        assert_eq!(text[0], " => [base 2/2] RUN make");
        assert_eq!(text.len(), 7);
        fit(&mut rows, 2);
        assert_eq!(rows[1].text, " => => # line 8");
    }

    #[test]
    fn it_is_painted_over_itself() {
        let (mut picture, mut out) = (Picture::new(false), Vec::new());
        picture.put("head", &steps(&board(), false), 40, &mut out);
        assert!(out.starts_with(b"head"), "nothing to go back to");
        out.clear();
        picture.put("head", &[], 40, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), "\x1b[5A\rhead\x1b[K\n\x1b[J");
    }

    #[test]
    fn output_does_not_play_with_the_terminal() {
        assert_eq!(clean("10%\r20%\r30%\r"), "30%");
        assert_eq!(clean("\x1b[1;31mred\x1b[0m\x1b]0;title\x07\tx\x08"), "red    x");
        assert_eq!(clean("\x1b["), "");
    }
}
