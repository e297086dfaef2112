//! What the rows are called, and how each was measured.

use super::number::shown;
use super::report::{Measure, Unit};
use super::sizes::Sizes;

impl Measure {
    /// The row's name.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::FirstOutput => "Start, to the first output",
            Self::Gone => "Start, to its end",
            Self::Memory => "Memory of an idle one",
            Self::MemoryBeyond => "  of it beyond the program",
            Self::Disk => "Disk of an idle one",
            Self::Fit => "How many fit (estimate)",
            Self::ComputeOne => "Computing, one thread",
            Self::ComputeAll => "Computing, all processors",
            Self::Copy => "Copying memory",
            Self::FileWrite => "Writing a file",
            Self::FileRead => "Reading a file",
            Self::FilesSmall => "Small files",
            Self::NetworkTo => "Network, to it",
            Self::NetworkFrom => "Network, from it",
            Self::RoundTrip => "Network, there and back",
        }
    }

    /// What the number is, and how it came about.
    pub(super) fn meaning(self, sizes: &Sizes) -> String {
        let bytes = |count: u64| shown(count as f64, Unit::Bytes);
        let crowd = sizes.crowd;
        match self {
            Self::FirstOutput => "A program that says one line and ends. Containers: from the request \
                to create one until the line is here, over the daemon's API. Native: from the start of \
                the process. The first start of each is not counted, and that of a machine waits until the \
                daemon has one ready, if it does."
                .to_owned(),
            Self::Gone => "The same, until the process has ended; of containers, until the daemon says \
                that the container is removed."
                .to_owned(),
            Self::Memory => format!(
                "Of each of {crowd} at once that wait for connections: the program's process, the \
                 container's monitor and all processes below it, which for a machine are QEMU with the \
                 guest's memory, and what serves its directories. Proportional shares (PSS), so pages \
                 that several processes have are counted once among them. Memory that the kernel uses \
                 for namespaces, cgroups and links, and its cache of files, are not in it."
            ),
            Self::MemoryBeyond => "The same without the program's own process, by the host's count, or \
                for a machine by that of the guest's kernel."
                .to_owned(),
            Self::Disk => format!(
                "Bytes on disk that each of the {crowd} idle containers added: its own directory, with \
                 the disk of its machine. The image's layers are there once for all, and not in it."
            ),
            Self::Fit => "The memory that was available at the beginning, divided by that of an idle \
                one: an estimate. What they do needs more; their number of processes and addresses may \
                end it before."
                .to_owned(),
            Self::ComputeOne => format!(
                "{} rounds of multiplications over a table of 32 KiB, on one thread.",
                sizes.rounds
            ),
            Self::ComputeAll => "As many rounds, shared out among all processors that the program finds. \
                A machine has as many as the daemon gives one (--vm-cpus)."
                .to_owned(),
            Self::Copy => {
                let caches = sizes.caches.map_or_else(
                    || "the kernel does not say how large the caches are".to_owned(),
                    |caches| format!("the largest cache has {}", bytes(caches)),
                );
                format!("A buffer of {}, {} times; {caches}.", bytes(sizes.copy as u64), sizes.copies)
            }
            Self::FileWrite => format!(
                "{} in pieces of 1 MiB and the wait until they are on disk (fsync), in the container's \
                 own root. Native: on the file system of the daemon's data, if that can be written to. \
                 A machine's fsync ends at the disk of the host, too.",
                bytes(sizes.file)
            ),
            Self::FileRead => "The same file, after the kernel was told to forget its pages. A machine's \
                guest forgets its own; the host's cache may have them still."
                .to_owned(),
            Self::FilesSmall => format!(
                "{} files of 1 KiB: all created, all looked at, all removed, one after another.",
                sizes.files
            ),
            Self::NetworkTo => format!(
                "{} over one TCP connection from the host to the container's address on the default \
                 network. Native: over the loopback.",
                bytes(sizes.stream)
            ),
            Self::NetworkFrom => "As many bytes the other way.".to_owned(),
            Self::RoundTrip => format!(
                "One byte to it and back over TCP: the mean of {} round trips.",
                sizes.round_trips
            ),
        }
    }
}
