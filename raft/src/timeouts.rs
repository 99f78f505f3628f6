//! Election timeouts that a seed decides, so that the same seed gives the same run.
//!
//! The engine draws them from the thread's random source, and offers no other. So the drawn value is overwritten after
//! every call, and drawn anew from the seed whenever term, vote, leader or role has changed.

use std::ops::Range;

use raft::{Config, Raft, StateRole, Storage};

type Stance = (u64, u64, u64, StateRole);

/// The timeouts of one node.
pub struct Timeouts {
    /// The state of SplitMix64; without a seed the engine's own draws stand.
    random: Option<u64>,
    stance: Option<Stance>,
    ticks: usize,
    /// What may be drawn, as the engine has it: its own range cannot be asked for.
    range: Range<usize>,
}

impl Timeouts {
    /// The id takes part: members with one seed would time out together, and split every vote.
    pub fn new(seed: Option<u64>, mut id: u64, config: &Config) -> Timeouts {
        let range = config.min_election_tick()..config.max_election_tick();
        Timeouts { random: seed.map(|seed| seed ^ split_mix(&mut id)), stance: None, ticks: 0, range }
    }

    /// To be called after every call that may have changed the engine.
    pub fn settle<S: Storage>(&mut self, raft: &mut Raft<S>) {
        let Some(random) = self.random.as_mut() else { return };
        let stance = (raft.term, raft.vote, raft.leader_id, raft.state);
        if self.stance != Some(stance) {
            self.stance = Some(stance);
            self.ticks = self.range.start + (split_mix(random) % self.range.len() as u64) as usize;
        }
        if raft.randomized_election_timeout() != self.ticks {
            raft.set_randomized_election_timeout(self.ticks);
        }
    }

    /// What may be set.
    pub fn range(&self) -> &Range<usize> {
        &self.range
    }

    /// Sets the timeout, one of the range, until the next draw.
    pub fn set<S: Storage>(&mut self, raft: &mut Raft<S>, ticks: usize) {
        self.ticks = ticks;
        raft.set_randomized_election_timeout(ticks);
    }
}

/// SplitMix64, by Sebastiano Vigna.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
