//! Which protocol a connection speaks: chosen once, by its first byte.
//!
//! memcached's way (`-B auto`): 0x80 begins a binary frame, anything else a line of text, and it stays
//! with that. Holds to one rule: nothing of the other protocol is ever looked for again.

use crate::protocol::binary::{Frames, REQUEST};
use crate::protocol::decoder::{Step, Text};
use crate::protocol::form::Form;
use crate::protocol::gather::Sizes;

/// Which protocols clients may speak (memcached `-B`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Whichever a client begins with.
    Auto,
    /// Text only.
    Ascii,
    /// Binary only.
    Binary,
}

impl Protocol {
    /// As `stats settings` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto-negotiate",
            Self::Ascii => "ascii",
            Self::Binary => "binary",
        }
    }
}

/// Turns one connection's bytes into requests.
#[derive(Debug)]
pub struct Decoder(Choice);

#[derive(Debug)]
enum Choice {
    /// Nothing has come yet.
    Open {
        sizes: Sizes,
    },
    Text(Text),
    Binary(Frames),
}

impl Decoder {
    /// A decoder for a new connection.
    pub fn new(protocol: Protocol, sizes: impl Into<Sizes>) -> Self {
        let sizes = sizes.into();
        Self(match protocol {
            Protocol::Auto => Choice::Open { sizes },
            Protocol::Ascii => Choice::Text(Text::new(sizes)),
            Protocol::Binary => Choice::Binary(Frames::new(sizes)),
        })
    }

    /// A decoder for a client who has to log in by SASL first.
    pub fn locked(sizes: impl Into<Sizes>) -> Self {
        let mut frames = Frames::new(sizes.into());
        frames.set_locked(true);
        Self(Choice::Binary(frames))
    }

    /// The client has logged in, or has to again.
    pub fn set_locked(&mut self, locked: bool) {
        if let Choice::Binary(frames) = &mut self.0 {
            frames.set_locked(locked);
        }
    }

    /// Whether the client has yet to log in by SASL.
    pub fn is_locked(&self) -> bool {
        matches!(&self.0, Choice::Binary(frames) if frames.is_locked())
    }

    /// Changes what is refused from the next request on.
    pub fn set_item_bytes_max(&mut self, bytes: u64) {
        match &mut self.0 {
            Choice::Open { sizes } => sizes.item_bytes_max = bytes,
            Choice::Text(text) => text.set_item_bytes_max(bytes),
            Choice::Binary(frames) => frames.set_item_bytes_max(bytes),
        }
    }

    /// Bytes of a value that has arrived in part.
    pub fn arriving_bytes(&self) -> usize {
        match &self.0 {
            Choice::Open { .. } => 0,
            Choice::Text(text) => text.arriving_bytes(),
            Choice::Binary(frames) => frames.arriving_bytes(),
        }
    }

    /// Whether the last request is complete: a connection may end here without cutting anything off.
    pub fn is_between_requests(&self) -> bool {
        match &self.0 {
            Choice::Open { .. } => true,
            Choice::Text(text) => text.is_between_requests(),
            Choice::Binary(frames) => frames.is_between_requests(),
        }
    }

    /// Gives up the value that is arriving: what was remembered of it is freed and the rest will be
    /// swallowed. `None` if no value is arriving; else how its client is answered.
    pub fn abandon_value(&mut self) -> Option<Form<'static>> {
        match &mut self.0 {
            Choice::Open { .. } => None,
            Choice::Text(text) => text.abandon_value(),
            Choice::Binary(frames) => frames.abandon_value(),
        }
    }

    /// Gives up what the last request is a part of: the rest of its line or of its value will be swallowed.
    pub fn give_up(&mut self) {
        if let Choice::Text(text) = &mut self.0 {
            text.abandon_line();
        }
        self.abandon_value();
    }

    /// Says what `bytes` mean: those that the last call did not use, and those that came since.
    pub fn decode<'b>(&mut self, bytes: &'b [u8]) -> Step<'b> {
        if let Choice::Open { sizes } = self.0 {
            self.0 = match bytes.first() {
                None => return Step::NeedMore { used: 0 },
                Some(&REQUEST) => Choice::Binary(Frames::new(sizes)),
                Some(_) => Choice::Text(Text::new(sizes)),
            };
        }
        match &mut self.0 {
            Choice::Text(text) => text.decode(bytes),
            Choice::Binary(frames) => frames.decode(bytes),
            Choice::Open { .. } => unreachable!("it was chosen just now"),
        }
    }
}
