//! The text that Docker's classic builder prints.
//!
//! That builder did one step after the other. Ours does independent stages at once, so what a step
//! says is kept until all before it have ended: the text is that of the Dockerfile's order.

use std::collections::BTreeMap;

use types::ContainerId;

use crate::progress::{Event, StepInfo, StepKind};

/// Turns events into text.
#[derive(Debug, Default)]
pub struct Printer {
    steps: BTreeMap<u32, Step>,
    /// The step whose text is printed as it comes.
    current: u32,
    total: usize,
    quiet: bool,
}

#[derive(Debug, Default)]
struct Step {
    info: StepInfo,
    /// Its place among those that count, from 1.
    place: usize,
    container: Option<ContainerId>,
    /// What is yet to be printed; each piece is a message of its own.
    text: Vec<String>,
    over: bool,
}

impl Step {
    fn say(&mut self, piece: impl Into<String>) {
        self.text.push(piece.into());
    }
}

impl Printer {
    /// Prints everything, or nothing with `quiet`.
    pub fn new(quiet: bool) -> Self {
        Self { quiet, ..Self::default() }
    }

    /// Takes an event; gives what can be printed now.
    pub fn feed(&mut self, event: &Event) -> Vec<String> {
        match event {
            Event::Plan(steps) => self.plan(steps),
            Event::Started(number) => self.with(*number, |step, total| {
                if step.place > 0 {
                    let (place, name) = (step.place, &step.info.name);
                    step.say(format!("Step {place}/{total} : {name}\n"));
                }
            }),
            Event::Progress { step, part } => self.with(*step, |step, _| {
                if step.info.kind == StepKind::Base && part.item.is_empty() {
                    step.say(format!("{}\n", part.status));
                }
            }),
            Event::Log { step, stream, data } => self.with(*step, |step, _| {
                let text = String::from_utf8_lossy(data);
                // Clients expect standard error in red.
                step.say(if *stream == 2 {
                    format!("\x1b[91m{text}\x1b[0m")
                } else {
                    text.into_owned()
                });
            }),
            Event::Running { step, container } => self.with(*step, |step, _| {
                step.say(format!(" ---> Running in {}\n", container.short()));
                step.container = Some(container.clone());
            }),
            Event::Triggers { step, count } => self.with(*step, |step, _| {
                let plural = if *count == 1 { "" } else { "s" };
                step.say(format!("# Executing {count} build trigger{plural}\n"));
            }),
            Event::Finished { step, cached, image } => self.with(*step, |step, _| {
                if *cached && step.info.kind != StepKind::Base {
                    step.say(" ---> Using cache\n");
                }
                if let Some(container) = &step.container {
                    let short = container.short();
                    step.say(format!(" ---> Removed intermediate container {short}\n"));
                }
                if let Some(image) = image {
                    step.say(format!(" ---> {}\n", image.short()));
                } else if step.info.kind == StepKind::Base {
                    step.say(" ---> \n");
                }
                step.over = true;
            }),
            Event::Failed { step, cancelled, .. } => self.with(*step, |step, _| {
                // What was cut off has nothing to say; the failure itself is the stream's error.
                if !cancelled && let Some(container) = &step.container {
                    let short = container.short();
                    step.say(format!(" ---> Removed intermediate container {short}\n"));
                }
                step.over = true;
            }),
            Event::Unused(names) => {
                // dockerd says it when all steps are done.
                let names = names.join(" ");
                let export = self.steps.values_mut().find(|s| s.info.kind == StepKind::Export);
                if let Some(step) = export {
                    step.say(format!(
                        "[Warning] One or more build-args [{names}] were not consumed\n"
                    ));
                }
            }
            Event::Warning { .. } => {}
        }
        self.flush()
    }

    /// What is left when nothing more will come.
    pub fn finish(&mut self) -> Vec<String> {
        let mut text = Vec::new();
        for step in self.steps.range_mut(self.current..).map(|(_, step)| step) {
            text.append(&mut step.text);
        }
        if self.quiet { Vec::new() } else { text }
    }

    fn plan(&mut self, steps: &[StepInfo]) {
        for info in steps {
            let counts =
                matches!(info.kind, StepKind::Argument | StepKind::Base | StepKind::Instruction);
            self.total += usize::from(counts);
            let place = if counts { self.total } else { 0 };
            let step = Step { info: info.clone(), place, ..Step::default() };
            self.steps.insert(info.number, step);
        }
    }

    fn with(&mut self, number: u32, change: impl FnOnce(&mut Step, usize)) {
        let total = self.total;
        if let Some(step) = self.steps.get_mut(&number) {
            change(step, total);
        }
    }

    fn flush(&mut self) -> Vec<String> {
        let mut text = Vec::new();
        while let Some(step) = self.steps.get_mut(&self.current) {
            text.append(&mut step.text);
            if !step.over {
                break;
            }
            self.current += 1;
        }
        if self.quiet { Vec::new() } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(number: u32, kind: StepKind, name: &str) -> StepInfo {
        StepInfo { number, kind, name: name.to_owned(), ..StepInfo::default() }
    }

    fn log(step: u32, text: &str) -> Event {
        Event::Log { step, stream: 1, data: text.as_bytes().to_vec() }
    }

    #[test]
    fn stages_at_once_read_as_one_after_the_other() {
        let mut printer = Printer::new(false);
        let image = types::digest::Digest::from_sha256([7; 32]);
        let done = |step, cached| Event::Finished { step, cached, image: Some(image.clone()) };
        let events = [
            Event::Plan(vec![
                info(0, StepKind::Base, "FROM a"),
                info(1, StepKind::Instruction, "RUN x"),
                info(2, StepKind::Base, "FROM b"),
            ]),
            Event::Started(2),
            Event::Started(0),
            done(2, true),
            done(0, true),
            Event::Started(1),
            log(1, "out\n"),
            done(1, false),
        ];
        let texts: Vec<String> = events.iter().map(|event| printer.feed(event).concat()).collect();
        assert_eq!(
            texts,
            [
                "",
                "",
                "Step 1/3 : FROM a\n",
                "",
                " ---> 070707070707\n",
                "Step 2/3 : RUN x\n",
                "out\n",
                " ---> 070707070707\nStep 3/3 : FROM b\n ---> 070707070707\n",
            ]
        );
        assert!(printer.finish().is_empty());
    }

    #[test]
    fn errors_are_red_and_by_themselves() {
        let mut printer = Printer::new(false);
        let _ = printer.feed(&Event::Plan(vec![info(0, StepKind::Instruction, "RUN x")]));
        let _ = printer.feed(&Event::Started(0));
        let _ = printer.feed(&log(0, "out\n"));
        let told = printer.feed(&Event::Log { step: 0, stream: 2, data: b"bad\n".to_vec() });
        assert_eq!(told, ["\x1b[91mbad\n\x1b[0m"]);
    }
}
