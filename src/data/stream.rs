//! Owns the order of a split's tokens: row groups, documents within them, epoch after epoch, and the place in it.
//!
//! Must not know: batches, threads. Invariant: the stream is a function of (files, seed, shuffle) alone, and a
//! [`Position`] taken anywhere in it leads back to exactly there.

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_xoshiro::{SplitMix64, Xoshiro256PlusPlus};
use serde::{Deserialize, Serialize};

use super::decode::Documents;
use super::error::{DataError, Result};
use super::shard::{Accept, Shard};

/// A place in a split's endless stream of tokens. The default is the beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Position {
    pub epoch: u64,
    /// Row group, counted in the epoch's order; one past the last is the epoch's end.
    pub group: u64,
    /// Document, counted in the group's order of that epoch.
    pub document: u64,
    /// Token within the document.
    pub token: u64,
}

impl Position {
    fn epoch_start(epoch: u64) -> Self {
        Self { epoch, ..Self::default() }
    }

    /// Whether it is the first token of an epoch.
    pub(crate) fn is_epoch_start(&self) -> bool {
        *self == Self::epoch_start(self.epoch)
    }
}

/// Which tokens, in which order.
pub(crate) struct Order {
    pub shards: Vec<Shard>,
    pub accept: Accept,
    pub seed: u64,
    pub shuffle: bool,
}

/// The row group that the stream stands in.
struct Group {
    documents: Documents,
    order: Vec<usize>,
}

/// Walks a split's tokens from a position on. Holds one row group.
pub(crate) struct TokenStream {
    order: Order,
    /// (shard, row group) in this epoch's order.
    groups: Vec<(usize, usize)>,
    at: Position,
    loaded: Option<Group>,
    /// Tokens passed in this epoch since it began, to notice an epoch without any; `None` where it was entered midway.
    passed: Option<u64>,
}

impl TokenStream {
    /// # Errors
    /// The position does not exist in this dataset, or the row group that it lies in cannot be read.
    pub fn open(order: Order, at: Position) -> Result<Self> {
        let groups = order.groups(at.epoch);
        let passed = at.is_epoch_start().then_some(0);
        let mut stream = Self { order, groups, at, loaded: None, passed };
        stream.check_position()?;
        Ok(stream)
    }

    /// The next token's place.
    pub fn position(&self) -> &Position {
        &self.at
    }

    /// The position that ends the epoch `epoch`.
    pub fn epoch_end(&self, epoch: u64) -> Position {
        Position { group: self.groups.len() as u64, ..Position::epoch_start(epoch) }
    }

    /// Appends up to `want` tokens and whether each is a document's first, not going past the end of `last_epoch`.
    /// Fewer come only there.
    ///
    /// # Errors
    /// A fault in a shard, or a whole epoch with fewer than two tokens, which has nothing to predict.
    pub fn take(
        &mut self,
        want: usize,
        last_epoch: u64,
        tokens: &mut Vec<i32>,
        starts: &mut Vec<bool>,
    ) -> Result<()> {
        let mut left = want;
        while left > 0 {
            if !self.settle(last_epoch)? {
                return Ok(());
            }
            let Some(group) = &self.loaded else { return Ok(()) };
            let document = group.documents.get(group.order[self.at.document as usize]);
            let from = self.at.token as usize;
            let count = left.min(document.len() - from);
            // Ids are below the vocabulary, which is far below 2^31.
            tokens.extend(document[from..from + count].iter().map(|id| *id as i32));
            starts.extend((from..from + count).map(|at| at == 0));
            self.at.token += count as u64;
            self.passed = self.passed.map(|passed| passed + count as u64);
            left -= count;
        }
        Ok(())
    }

    /// Moves on until a token is there to be read; `false` at the end of `last_epoch`.
    pub fn settle(&mut self, last_epoch: u64) -> Result<bool> {
        loop {
            if self.at.group as usize >= self.groups.len() {
                if self.at.epoch >= last_epoch {
                    return Ok(false);
                }
                self.next_epoch()?;
                continue;
            }
            let (document, token) = (self.at.document as usize, self.at.token as usize);
            let group = self.load()?;
            let length = group.order.get(document).map(|index| group.documents.get(*index).len());
            match length {
                Some(length) if token < length => return Ok(true),
                Some(_) => self.at = Position { document: self.at.document + 1, token: 0, ..self.at },
                None => {
                    self.at = Position { group: self.at.group + 1, ..Position::epoch_start(self.at.epoch) };
                    self.loaded = None;
                }
            }
        }
    }

    /// Refuses an epoch that had nothing to predict: repeating it would never end.
    pub fn refuse_barren(&self) -> Result<()> {
        match self.passed {
            Some(passed) if passed < 2 => Err(DataError::Empty {
                file: self.order.shards[0].path().to_path_buf(),
                found: format!("{passed} tokens in all rows of the split"),
                allowed: "at least 2 tokens in a split: one to read and one to predict",
            }),
            _ => Ok(()),
        }
    }

    fn next_epoch(&mut self) -> Result<()> {
        self.refuse_barren()?;
        self.at = Position::epoch_start(self.at.epoch + 1);
        self.groups = self.order.groups(self.at.epoch);
        self.loaded = None;
        self.passed = Some(0);
        Ok(())
    }

    fn load(&mut self) -> Result<&Group> {
        let group = match self.loaded.take() {
            Some(group) => group,
            None => self.order.load(self.at.epoch, self.groups[self.at.group as usize])?,
        };
        Ok(self.loaded.insert(group))
    }

    fn check_position(&mut self) -> Result<()> {
        let at = self.at.clone();
        let groups = self.groups.len() as u64;
        if at.group > groups {
            return Err(self.no_position(format!("row group {}", at.group), format!("0 to {groups}")));
        }
        if (at.document, at.token) == (0, 0) {
            return Ok(());
        }
        if at.group == groups {
            return Err(
                self.no_position(format!("document {} after the last group", at.document), "0".to_owned())
            );
        }
        let group = self.load()?;
        let documents = group.order.len() as u64;
        let length =
            group.order.get(at.document as usize).map(|index| group.documents.get(*index).len() as u64);
        match length {
            Some(length) if at.token <= length => Ok(()),
            Some(length) => Err(self.no_position(format!("token {}", at.token), format!("0 to {length}"))),
            None => Err(self.no_position(format!("document {}", at.document), format!("below {documents}"))),
        }
    }

    fn no_position(&self, found: String, allowed: String) -> DataError {
        let file = self.order.shards[0].path().to_path_buf();
        DataError::Position { file, found, allowed: format!("{allowed} (was the dataset changed since?)") }
    }
}

impl Order {
    fn groups(&self, epoch: u64) -> Vec<(usize, usize)> {
        let of_shard = |(at, shard): (usize, &Shard)| (0..shard.groups()).map(move |group| (at, group));
        let mut groups: Vec<_> = self.shards.iter().enumerate().flat_map(of_shard).collect();
        if self.shuffle {
            groups.shuffle(&mut rng([self.seed, epoch, u64::MAX]));
        }
        groups
    }

    fn load(&self, epoch: u64, (shard, group): (usize, usize)) -> Result<Group> {
        let documents = self.shards[shard].read_group(group, self.accept)?;
        let mut order: Vec<usize> = (0..documents.len()).collect();
        if self.shuffle {
            let number: usize = self.shards[..shard].iter().map(Shard::groups).sum::<usize>() + group;
            order.shuffle(&mut rng([self.seed, epoch, number as u64]));
        }
        Ok(Group { documents, order })
    }
}

/// A generator of its own for each combination of numbers, the same on every platform.
pub(crate) fn rng(numbers: [u64; 3]) -> Xoshiro256PlusPlus {
    let mixed =
        numbers.iter().fold(0, |state: u64, number| SplitMix64::seed_from_u64(state ^ number).next_u64());
    Xoshiro256PlusPlus::seed_from_u64(mixed)
}
