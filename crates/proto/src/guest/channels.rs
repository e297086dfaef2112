//! The channels of one connection: who may send how much on which. Decisions only; the bytes are
//! elsewhere.
//!
//! ```text
//!   sender                                 receiver
//!   Open ──data, as far as credit goes──►  Open      gives credit for what it has passed on
//!    │ ◄───────────────stop──────────────  Stopped   throws away what is on its way
//!    └────────────────end────────────────► gone
//! ```

use std::collections::BTreeMap;

use super::Violation;

/// What may be sent on a channel before any credit was given: four times what a pipe has room for
/// at once, so that one that is read is never held up by the way that credit takes.
pub const INITIAL_CREDIT: u32 = 256 << 10;

/// Which way a channel's data go, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the other side.
    Out,
    /// From the other side.
    In,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Channel {
    way: Way,
    /// Bytes that the sender may still send.
    credit: u32,
    /// Bytes that were passed on, and for which credit has yet to be given.
    owed: u32,
    /// The receiver has said stop.
    stopped: bool,
    /// Grows with whatever is sent, received or passed on.
    moved: u64,
}

/// All open channels.
#[derive(Clone, Debug, Default)]
pub struct Channels {
    open: BTreeMap<u32, Channel>,
}

impl Channels {
    /// Opens a channel; its number must not have been used before.
    pub fn open(&mut self, number: u32, way: Way) {
        let channel = Channel { way, credit: INITIAL_CREDIT, owed: 0, stopped: false, moved: 0 };
        self.open.insert(number, channel);
    }

    /// A number that changes when data move, here or at the other side; 0 on a channel that is not open.
    pub fn moved(&self, number: u32) -> u64 {
        self.open.get(&number).map_or(0, |channel| channel.moved)
    }

    /// Whether a channel is open.
    pub fn is_open(&self, number: u32) -> bool {
        self.open.contains_key(&number)
    }

    /// Forgets a channel of which the other side never heard.
    pub fn forget(&mut self, number: u32) {
        self.open.remove(&number);
    }

    fn find(&mut self, number: u32, way: Way) -> Result<&mut Channel, Violation> {
        match self.open.get_mut(&number) {
            Some(channel) if channel.way == way => Ok(channel),
            _ => Err(Violation::Channel(number)),
        }
    }

    /// Data came. True: they are to be passed on; false: nobody wants them any more.
    ///
    /// # Errors
    /// When the channel is not open this way, or there was not so much credit.
    pub fn received(&mut self, number: u32, length: usize) -> Result<bool, Violation> {
        let channel = self.find(number, Way::In)?;
        let credit = channel.credit;
        let left = u32::try_from(length).ok().and_then(|length| credit.checked_sub(length));
        channel.credit = left.ok_or(Violation::Credit { channel: number, length, credit })?;
        channel.moved += length as u64;
        Ok(!channel.stopped)
    }

    /// Data were passed on; returns how much credit to give now. Small amounts are gathered.
    pub fn passed_on(&mut self, number: u32, length: usize) -> Option<u32> {
        let channel = self.find(number, Way::In).ok()?;
        channel.owed = channel.owed.saturating_add(u32::try_from(length).unwrap_or(u32::MAX));
        channel.moved += length as u64;
        if channel.stopped || channel.owed < INITIAL_CREDIT / 4 {
            return None;
        }
        let amount = std::mem::take(&mut channel.owed);
        channel.credit += amount;
        Some(amount)
    }

    /// Nobody here wants the data of a channel any more. True: the other side is to be told.
    pub fn stop(&mut self, number: u32) -> bool {
        match self.find(number, Way::In) {
            Ok(channel) => !std::mem::replace(&mut channel.stopped, true),
            Err(_) => false,
        }
    }

    /// The other side's data have ended.
    ///
    /// # Errors
    /// When the channel is not open this way.
    pub fn ended(&mut self, number: u32) -> Result<(), Violation> {
        self.find(number, Way::In)?;
        self.open.remove(&number);
        Ok(())
    }

    /// How many bytes may be sent now; 0 on a channel that is not open.
    pub fn sendable(&self, number: u32) -> usize {
        match self.open.get(&number) {
            Some(channel) if channel.way == Way::Out && !channel.stopped => channel.credit as usize,
            _ => 0,
        }
    }

    /// Bytes were sent, no more than [`Channels::sendable`] said.
    pub fn sent(&mut self, number: u32, length: usize) {
        if let Ok(channel) = self.find(number, Way::Out) {
            let length = u32::try_from(length).unwrap_or(u32::MAX);
            channel.credit = channel.credit.saturating_sub(length);
            channel.moved += u64::from(length);
        }
    }

    /// The other side gives credit. It may come for a channel whose end is on its way.
    ///
    /// # Errors
    /// More than the other side can ever have received.
    pub fn credited(&mut self, number: u32, amount: u32) -> Result<(), Violation> {
        let Some(channel) = self.open.get_mut(&number) else { return Ok(()) };
        if channel.way != Way::Out {
            return Err(Violation::Channel(number));
        }
        let credit = channel.credit.checked_add(amount).filter(|sum| *sum <= INITIAL_CREDIT);
        channel.credit = credit.ok_or(Violation::Excess(number))?;
        channel.moved += u64::from(amount);
        Ok(())
    }

    /// The other side wants no more. True: the end is to be sent, see [`Channels::finish`]. It may
    /// come for a channel whose end is on its way.
    ///
    /// # Errors
    /// When the channel goes the other way.
    pub fn stopped(&mut self, number: u32) -> Result<bool, Violation> {
        let Some(channel) = self.open.get_mut(&number) else { return Ok(false) };
        if channel.way != Way::Out {
            return Err(Violation::Channel(number));
        }
        Ok(!std::mem::replace(&mut channel.stopped, true))
    }

    /// There is no more to send. True: the end is to be sent.
    pub fn finish(&mut self, number: u32) -> bool {
        let out = self.find(number, Way::Out).is_ok();
        if out {
            self.open.remove(&number);
        }
        out
    }
}
