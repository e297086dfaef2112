//! The programs at the host's end of a container's link, and at a bridge.

use std::os::fd::{AsRawFd, BorrowedFd};

use sys::bpf::Instruction;

// Registers. 0 is what a function answers, 1 and 2 what it is asked; 6 to 9 stay.
const CONTEXT: u8 = 6;
const OWNER: u8 = 7;
const DATA: u8 = 8;
const END: u8 = 9;
const STACK: u8 = 10;

// `struct __sk_buff`
const VLAN_PRESENT: i16 = 20;
const IFINDEX: i16 = 40;
const DATA_AT: i16 = 76;
const DATA_END: i16 = 80;

// On the stack: index of the link, key of a peer.
const LINK: i16 = -4;
const PEER: i16 = -24;

// Helpers of the kernel.
const MAP_LOOKUP: i32 = 1;
const REDIRECT: i32 = 23;
const REDIRECT_PEER: i32 = 155;

/// `TCX_NEXT`: as if there were no program.
const NEXT: i32 = -1;
const TCP: i32 = 6;
const UDP: i32 = 17;

/// How many bytes a load or a store is about: the size bits of its code.
#[derive(Clone, Copy)]
enum Size {
    Word = 0x00,
    Half = 0x08,
    Byte = 0x10,
    Double = 0x18,
}

/// Places to jump to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    Six,
    Tcp,
    Deliver,
    Receive,
    Next,
}

#[derive(Default)]
struct Assembler {
    code: Vec<Instruction>,
    jumps: Vec<(usize, Label)>,
    places: Vec<(Label, usize)>,
}

impl Assembler {
    fn op(&mut self, code: u8, to: u8, from: u8, offset: i16, immediate: i32) {
        self.code.push(Instruction { code, registers: to | from << 4, offset, immediate });
    }

    fn copy(&mut self, to: u8, from: u8) {
        self.op(0xbf, to, from, 0, 0);
    }

    fn set(&mut self, to: u8, value: i32) {
        self.op(0xb7, to, 0, 0, value);
    }

    fn add(&mut self, to: u8, value: i32) {
        self.op(0x07, to, 0, 0, value);
    }

    fn load(&mut self, size: Size, to: u8, from: u8, offset: i16) {
        self.op(0x61 | size as u8, to, from, offset, 0);
    }

    fn store(&mut self, size: Size, to: u8, offset: i16, from: u8) {
        self.op(0x63 | size as u8, to, from, offset, 0);
    }

    fn jump(&mut self, code: u8, one: u8, other: u8, value: i32, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.op(code, one, other, 0, value);
    }

    fn if_equal(&mut self, register: u8, value: i32, label: Label) {
        self.jump(0x15, register, 0, value, label);
    }

    fn unless_equal(&mut self, register: u8, value: i32, label: Label) {
        self.jump(0x55, register, 0, value, label);
    }

    /// Goes on only if the packet has so many bytes in one piece.
    fn need(&mut self, bytes: i32) {
        self.copy(2, DATA);
        self.add(2, bytes);
        self.jump(0x2d, 2, END, 0, Label::Next);
    }

    /// Goes on only if a part of the packet is what the owner has.
    fn own(&mut self, size: Size, packet: i16, owner: i16) {
        self.load(size, 2, DATA, packet);
        self.load(size, 3, OWNER, owner);
        self.jump(0x5d, 2, 3, 0, Label::Next);
    }

    /// Looks a key on the stack up; goes on only if it is there.
    fn look_up(&mut self, map: BorrowedFd<'_>, key: i16) {
        /// `BPF_PSEUDO_MAP_FD`
        const MAP: u8 = 1;
        self.op(0x18, 1, MAP, 0, map.as_raw_fd());
        self.op(0, 0, 0, 0, 0);
        self.copy(2, STACK);
        self.add(2, key.into());
        self.op(0x85, 0, 0, 0, MAP_LOOKUP);
        self.if_equal(0, 0, Label::Next);
    }

    fn place(&mut self, label: Label) {
        self.places.push((label, self.code.len()));
    }

    fn exit(&mut self) {
        self.op(0x95, 0, 0, 0, 0);
    }

    /// Finds whose link it is, and where the packet lies.
    fn begin(&mut self, owners: BorrowedFd<'_>) {
        self.copy(CONTEXT, 1);
        // A tag that has been taken off: not what such links carry.
        self.load(Size::Word, 2, CONTEXT, VLAN_PRESENT);
        self.unless_equal(2, 0, Label::Next);
        self.load(Size::Word, 2, CONTEXT, IFINDEX);
        self.store(Size::Word, STACK, LINK, 2);
        self.look_up(owners, LINK);
        self.copy(OWNER, 0);
        self.load(Size::Word, DATA, CONTEXT, DATA_AT);
        self.load(Size::Word, END, CONTEXT, DATA_END);
    }

    /// Finds whom the packet is for, in the owner's network.
    fn find_peer(&mut self, peers: BorrowedFd<'_>) {
        self.load(Size::Double, 2, OWNER, 0);
        self.store(Size::Double, STACK, PEER, 2);
        self.load(Size::Word, 2, DATA, 0);
        self.store(Size::Word, STACK, PEER + 8, 2);
        self.load(Size::Half, 2, DATA, 4);
        self.store(Size::Half, STACK, PEER + 12, 2);
        self.set(2, 0);
        self.store(Size::Half, STACK, PEER + 14, 2);
        self.look_up(peers, PEER);
    }

    /// Everything else goes on as if there were no program.
    fn finish(mut self) -> Vec<Instruction> {
        self.place(Label::Next);
        self.set(0, NEXT);
        self.exit();
        for (at, label) in self.jumps {
            let place = self.places.iter().find(|(other, _)| *other == label);
            // Counted from the instruction after the jump.
            let distance = place.map(|(_, place)| *place as i64 - at as i64 - 1);
            let distance = distance.and_then(|distance| i16::try_from(distance).ok());
            if let Some((instruction, distance)) = self.code.get_mut(at).zip(distance) {
                instruction.offset = distance;
            }
        }
        self.code
    }
}

fn network_order(value: u16) -> i32 {
    u16::from_ne_bytes(value.to_be_bytes()).into()
}

/// What sees what a container sends, with the maps of [`super`].
pub(super) fn from_container(owners: BorrowedFd<'_>, peers: BorrowedFd<'_>) -> Vec<Instruction> {
    let mut a = Assembler::default();
    a.begin(owners);
    // Ethernet and IPv4: 14 and 20 bytes.
    a.need(34);
    a.own(Size::Word, 6, 8);
    a.own(Size::Half, 10, 12);
    a.load(Size::Half, 2, DATA, 12);
    a.if_equal(2, network_order(0x86dd), Label::Six);
    a.unless_equal(2, network_order(0x0800), Label::Next);
    a.own(Size::Word, 26, 16);
    a.jump(0x05, 0, 0, 0, Label::Deliver);
    // IPv6: 40 bytes. What neighbours tell each other about addresses is looked into elsewhere, so
    // nothing but TCP and UDP.
    a.place(Label::Six);
    a.need(54);
    a.load(Size::Byte, 2, DATA, 20);
    a.if_equal(2, TCP, Label::Tcp);
    a.unless_equal(2, UDP, Label::Next);
    a.place(Label::Tcp);
    for part in 0..4 {
        a.own(Size::Word, 22 + 4 * part, 24 + 4 * part);
    }
    a.place(Label::Deliver);
    a.find_peer(peers);
    a.load(Size::Word, 1, 0, 0);
    // Nothing goes back to where it comes from.
    a.load(Size::Word, 2, STACK, LINK);
    a.jump(0x1d, 1, 2, 0, Label::Next);
    a.load(Size::Word, 2, 0, 4);
    a.unless_equal(2, 0, Label::Receive);
    a.op(0x85, 0, 0, 0, REDIRECT_PEER);
    a.exit();
    a.place(Label::Receive);
    a.op(0x85, 0, 0, 0, REDIRECT);
    a.exit();
    a.finish()
}

/// What sees what the host sends by a bridge: to a container it goes by its link at once.
pub(super) fn from_host(owners: BorrowedFd<'_>, peers: BorrowedFd<'_>) -> Vec<Instruction> {
    let mut a = Assembler::default();
    a.begin(owners);
    a.need(14);
    a.find_peer(peers);
    a.load(Size::Word, 1, 0, 0);
    // The host does not send to itself.
    a.load(Size::Word, 2, 0, 4);
    a.unless_equal(2, 0, Label::Next);
    a.op(0x85, 0, 0, 0, REDIRECT);
    a.exit();
    a.finish()
}
