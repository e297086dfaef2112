//! The connection between a monitor and the agent in its virtual machine.
//!
//! ```text
//!  monitor                                        agent (PID 1 in the guest)
//!    │ ◄──────────────────────────── Hello           once, when it has booted; a template is
//!    │                                               frozen here, so clones do not say it again
//!    │  Boot, Create ─────────────────────────►      disks, addresses, clock, then the container
//!    │ ◄──────────────────────────── Created         blocked before its execve
//!    │  Start ────────────────────────────────►
//!    │ ◄──────────────────────────── Started
//!    │  data, credit, end ◄───────────────────►      standard streams, archives
//!    │ ◄──────────────────────────── Exited
//!    │  Shutdown ─────────────────────────────►      the disk is unmounted, then answered
//! ```
//!
//! A spare machine does all of it once before anybody needs it, with disks of no meaning and without
//! the last step: `Forget` makes it again one that waits for `Boot`.
//!
//! The stream (a virtio console port) is reliable and ordered. It carries [`frame`]s: messages in
//! JSON, pieces of data on numbered *channels*, and what keeps those in order ([`channels`]). A
//! channel goes one way, is opened by naming its number in a request, and has one number for ever:
//! only the monitor opens channels. A sender may send as many bytes as the receiver has given it
//! credit for, so a process that nobody reads stops in its own `write(2)`.
//!
//! **The guest is not believed.** Its frames are shorter than ours may be, its channels are those
//! that it was told, its answers those that were asked for; what else it sends is a
//! [`Violation`], which ends its machine and nothing else.

pub mod answer;
pub mod channels;
pub mod frame;
pub mod message;

pub use answer::*;
pub use channels::{Channels, INITIAL_CREDIT, Way};
pub use frame::{Decoder, Frame, Side};
pub use message::*;

/// Both sides must be of the same version: the agent comes with the monitor that starts it.
pub const VERSION: u32 = 2;

/// What the kernel's command line says in a machine that is not going to be cloned: its network
/// cards stay what they are.
pub const OWN_CARDS: &str = "isopod.own_cards";

/// What the other side may not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A frame of a kind that there is not.
    #[error("a frame of the unknown kind {0}")]
    Kind(u8),
    /// A frame that is longer than its kind may be.
    #[error("a frame of {length} bytes, where {limit} are allowed")]
    TooLong {
        /// What its head announces.
        length: u32,
        /// What its kind allows.
        limit: u32,
    },
    /// A frame that is shorter than its kind has to be, or longer than its kind always is.
    #[error("a frame of kind {kind} with {length} bytes")]
    Length {
        /// The frame's kind.
        kind: u8,
        /// What its head announces.
        length: u32,
    },
    /// A message that is no JSON of the expected shape.
    #[error("a message that cannot be read: {0}")]
    Message(String),
    /// A channel that is not open, or goes the other way.
    #[error("something about channel {0}, which is not open")]
    Channel(u32),
    /// More data than there was credit for.
    #[error("{length} bytes on channel {channel}, where {credit} were allowed")]
    Credit {
        /// The channel.
        channel: u32,
        /// The bytes that came.
        length: usize,
        /// The bytes that were allowed.
        credit: u32,
    },
    /// More credit than a channel can have.
    #[error("too much credit on channel {0}")]
    Excess(u32),
    /// An answer to a request that was not made, or is answered already.
    #[error("an answer to request {0}, which was not asked")]
    Number(u32),
    /// An answer that does not belong to the request.
    #[error("an answer of another kind to request {0}")]
    Answer(u32),
    /// A message at a moment at which it makes no sense.
    #[error("{0} at the wrong moment")]
    Order(&'static str),
    /// An agent of another version.
    #[error("an agent of version {0}; this program has version {VERSION}")]
    Version(u32),
}

/// Whether these bytes, the first that an agent has sent, are its whole [`Hello`]. What is
/// no hello at all also ends the waiting: who reads it then finds out.
pub fn whole_hello(bytes: &[u8]) -> bool {
    let mut decoder = Decoder::new(Side::Guest);
    decoder.push(bytes);
    !matches!(decoder.next(), Ok(None))
}

#[cfg(test)]
mod tests;
