//! What was measured: columns, rows, samples, and what they come to.

use serde::{Serialize, Serializer};

use super::machine::Machine;

/// Where something runs: a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Wall {
    /// A plain process of the host.
    Native,
    /// A container behind namespaces.
    Process,
    /// A container in a virtual machine.
    Vm,
}

impl Wall {
    /// As users call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Process => "process",
            Self::Vm => "vm",
        }
    }
}

/// What is measured: a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Measure {
    /// From the request to the first output.
    FirstOutput,
    /// From the request until nothing is left.
    Gone,
    /// Memory of an idle container.
    Memory,
    /// The part of it that is not the program's.
    MemoryBeyond,
    /// Bytes of an idle container on disk.
    Disk,
    /// How many fit.
    Fit,
    /// A computation on one thread.
    ComputeOne,
    /// The same on all processors.
    ComputeAll,
    /// Copying memory.
    Copy,
    /// Writing a file.
    FileWrite,
    /// Reading a file.
    FileRead,
    /// Dealing with small files.
    FilesSmall,
    /// Bytes to it over the network.
    NetworkTo,
    /// Bytes from it over the network.
    NetworkFrom,
    /// There and back.
    RoundTrip,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Unit {
    /// Seconds: less is better.
    Seconds,
    /// Bytes: less is better.
    Bytes,
    /// Bytes a second: more is better.
    BytesPerSecond,
    /// Files a second: more is better.
    FilesPerSecond,
    /// Containers: more is better.
    Containers,
}

impl Unit {
    /// Whether more of it is better.
    pub(super) fn more_is_better(self) -> bool {
        !matches!(self, Self::Seconds | Self::Bytes)
    }
}

impl Measure {
    /// All of them, in the order in which they are shown.
    pub(super) const ALL: [Self; 15] = [
        Self::FirstOutput,
        Self::Gone,
        Self::Memory,
        Self::MemoryBeyond,
        Self::Disk,
        Self::Fit,
        Self::ComputeOne,
        Self::ComputeAll,
        Self::Copy,
        Self::FileWrite,
        Self::FileRead,
        Self::FilesSmall,
        Self::NetworkTo,
        Self::NetworkFrom,
        Self::RoundTrip,
    ];

    /// Its unit.
    pub(super) fn unit(self) -> Unit {
        match self {
            Self::FirstOutput
            | Self::Gone
            | Self::ComputeOne
            | Self::ComputeAll
            | Self::RoundTrip => Unit::Seconds,
            Self::Memory | Self::MemoryBeyond | Self::Disk => Unit::Bytes,
            Self::Copy | Self::FileWrite | Self::FileRead => Unit::BytesPerSecond,
            Self::NetworkTo | Self::NetworkFrom => Unit::BytesPerSecond,
            Self::FilesSmall => Unit::FilesPerSecond,
            Self::Fit => Unit::Containers,
        }
    }
}

/// What is known of one measure in one column.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cell {
    /// The column.
    pub(super) wall: Wall,
    /// One number for each run.
    pub(super) samples: Vec<f64>,
    /// Why there are no more of them.
    pub(super) failure: Option<String>,
}

impl Cell {
    /// The middle one of the samples, or between the two in the middle.
    pub(super) fn median(&self) -> Option<f64> {
        median(&self.samples)
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            wall: Wall,
            median: Option<f64>,
            samples: &'a [f64],
            #[serde(skip_serializing_if = "Option::is_none")]
            failure: Option<&'a str>,
        }
        let failure = self.failure.as_deref();
        let (wall, median) = (self.wall, self.median());
        Shown { wall, median, samples: &self.samples, failure }.serialize(serializer)
    }
}

fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        return sorted.get(middle).copied();
    }
    Some((sorted.get(middle.checked_sub(1)?)? + sorted.get(middle)?) / 2.0)
}

/// A row: a measure and its cells, one for each column.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    /// What was measured.
    pub(super) measure: Measure,
    /// What the numbers count.
    pub(super) unit: Unit,
    /// In the order of the columns.
    pub(super) cells: Vec<Cell>,
}

impl Row {
    /// A column's median as a share of the first column's, the native one.
    pub(super) fn share(&self, column: usize) -> Option<f64> {
        if column == 0 {
            return None;
        }
        let native = self.cells.first()?.median().filter(|native| *native > 0.0)?;
        Some(self.cells.get(column)?.median()? / native)
    }
}

/// A column.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Column {
    /// Where things ran.
    pub(super) wall: Wall,
    /// Why nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<String>,
    /// What is to be known about its numbers.
    pub(super) notes: Vec<String>,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    /// As the user named it.
    pub(super) image: String,
    /// How many samples were wanted of each.
    pub(super) runs: usize,
    /// Whether the pieces of work were small.
    pub(super) quick: bool,
    /// The host.
    pub(super) machine: Machine,
    /// The native one first.
    pub(super) columns: Vec<Column>,
    /// In the order of [`Measure::ALL`].
    pub(super) rows: Vec<Row>,
}

impl Report {
    /// Without any sample yet.
    pub(super) fn new(image: &str, walls: &[Wall], machine: Machine) -> Self {
        let cell = |wall: &Wall| Cell { wall: *wall, samples: Vec::new(), failure: None };
        let column = |wall: &Wall| Column { wall: *wall, failure: None, notes: Vec::new() };
        let row = |measure: Measure| Row {
            measure,
            unit: measure.unit(),
            cells: walls.iter().map(cell).collect(),
        };
        Self {
            image: image.to_owned(),
            runs: 0,
            quick: false,
            machine,
            columns: walls.iter().map(column).collect(),
            rows: Measure::ALL.into_iter().map(row).collect(),
        }
    }

    /// The cell of a measure in a column.
    pub(super) fn cell(&mut self, measure: Measure, column: usize) -> Option<&mut Cell> {
        let row = self.rows.iter_mut().find(|row| row.measure == measure)?;
        row.cells.get_mut(column)
    }

    /// The median of a measure in a column.
    pub(super) fn median(&self, measure: Measure, column: usize) -> Option<f64> {
        self.rows.iter().find(|row| row.measure == measure)?.cells.get(column)?.median()
    }

    /// Whether anything was measured in a column.
    pub(super) fn has_figures(&self, column: usize) -> bool {
        let cells = self.rows.iter().filter_map(|row| row.cells.get(column));
        cells.flat_map(|cell| &cell.samples).next().is_some()
    }

    /// Says something about a column, once.
    pub(super) fn note(&mut self, column: usize, text: String) {
        if let Some(column) = self.columns.get_mut(column)
            && !column.notes.contains(&text)
        {
            column.notes.push(text);
        }
    }

    /// What is to be known beside the figures, a sentence each: of what could not be measured, why
    /// (several rows of one step fail together), and the notes.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut found = Vec::new();
        for column in &self.columns {
            let name = column.wall.name();
            found
                .extend(column.failure.iter().map(|why| format!("{name} was not measured: {why}")));
            found.extend(column.notes.iter().map(|note| format!("{name}: {note}")));
        }
        for (wall, failure) in self.failures() {
            found.push(format!("{} failed: {failure}", wall.name()));
        }
        found
    }

    fn failures(&self) -> Vec<(Wall, &str)> {
        let mut found: Vec<(Wall, &str)> = Vec::new();
        for cell in self.rows.iter().flat_map(|row| &row.cells) {
            let failure = cell.failure.as_deref().map(|failure| (cell.wall, failure));
            found.extend(failure.filter(|failure| !found.contains(failure)));
        }
        found
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Three columns, the last of which has failed in a row and is worse in another.
    pub(in crate::compare) fn sample() -> Report {
        let walls = [Wall::Native, Wall::Process, Wall::Vm];
        let machine = Machine { kernel: "6.1 <&\"'>".to_owned(), ..Machine::default() };
        let mut report = Report::new("some/image:<b>", &walls, machine);
        report.runs = 3;
        for (column, samples) in [[0.001, 0.003, 0.002], [0.01, 0.02, 0.01]].iter().enumerate() {
            let cell = report.cell(Measure::FirstOutput, column).expect("a cell");
            cell.samples = samples.to_vec();
        }
        for (column, rate) in [1e9, 9.7e8, 1e8].into_iter().enumerate() {
            report.cell(Measure::Copy, column).expect("a cell").samples = vec![rate];
        }
        for measure in [Measure::FileRead, Measure::FileWrite] {
            let cell = report.cell(measure, 2).expect("a cell");
            cell.failure = Some("no kernel <script>".to_owned());
        }
        report.note(2, "1 of 2 processors".to_owned());
        report.note(2, "1 of 2 processors".to_owned());
        report
    }

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn shares_are_of_the_native_median() {
        let report = sample();
        let share = |row: usize, column| report.rows[row].share(column);
        assert_eq!(share(0, 0), None);
        assert_eq!(share(0, 1), Some(5.0));
        assert_eq!(share(0, 2), None);
        assert_eq!(report.median(Measure::Copy, 2), Some(1e8));
        assert!(report.has_figures(2) && !report.has_figures(3));
        assert_eq!(report.rows[8].share(2), Some(0.1));
    }

    #[test]
    fn what_is_said_twice_is_there_once() {
        let report = sample();
        let failed = "vm failed: no kernel <script>";
        assert_eq!(report.remarks(), ["vm: 1 of 2 processors", failed]);
        let mut report = sample();
        report.columns[1].failure = Some("it cannot".to_owned());
        assert_eq!(report.remarks()[0], "process was not measured: it cannot");
    }

    #[test]
    fn json_has_the_samples_and_their_median() {
        let json = serde_json::to_value(sample()).expect("JSON");
        let cell = &json["rows"][0]["cells"][0];
        assert_eq!(cell["wall"], "native");
        assert_eq!(cell["median"], 0.002);
        assert_eq!(cell["samples"], serde_json::json!([0.001, 0.003, 0.002]));
        assert!(cell.get("failure").is_none());
        assert_eq!(json["rows"][10]["cells"][2]["failure"], "no kernel <script>");
        assert_eq!(json["rows"][8]["unit"], "bytes-per-second");
    }
}
