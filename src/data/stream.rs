//! Owns: the order of a split's tokens (row groups, documents, epoch after epoch), and positions in it.
//! Must not know: batches, threads.
//! Invariant: the stream is a function of files, seed and `shuffle`, and continues exactly from any position.

use super::decode::Documents;
use super::error::{DataError, Result};
use super::marked_tokens::MarkedTokens;
use super::shard::{Shard, ShardReadOptions};
use crate::rng::item_rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

/// A position in a split's endless stream of tokens. The default is the start of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct StreamPosition {
    pub epoch: u64,
    /// Index of the row group in the epoch's order. The number of row groups is the end of the epoch.
    pub group: u64,
    /// Index of the document in the group's order of that epoch.
    pub document: u64,
    pub token: u64,
}

impl StreamPosition {
    fn epoch_start(epoch: u64) -> Self {
        Self { epoch, ..Self::default() }
    }

    pub(crate) fn is_epoch_start(&self) -> bool {
        *self == Self::epoch_start(self.epoch)
    }
}

/// The shards of a split and the order of their tokens.
pub(crate) struct TokenOrder {
    pub shards: Vec<Shard>,
    pub read_options: ShardReadOptions,
    pub seed: u64,
    pub shuffle: bool,
}

struct LoadedRowGroup {
    documents: Documents,
    /// Indices into `documents`, in the epoch's order.
    order: Vec<usize>,
}

/// Reads a split's tokens in order, starting at a position. It holds one row group in memory.
pub(crate) struct TokenStream {
    order: TokenOrder,
    /// Pairs (shard, row group) in this epoch's order.
    groups: Vec<(usize, usize)>,
    position: StreamPosition,
    loaded_group: Option<LoadedRowGroup>,
    /// Number of tokens read in this epoch, to detect an empty one; `None` if the epoch was entered midway.
    epoch_tokens: Option<u64>,
}

impl TokenStream {
    /// Opens a stream at a position, which must exist in this dataset.
    pub fn open(order: TokenOrder, start: StreamPosition) -> Result<Self> {
        let groups = order.group_order(start.epoch);
        let epoch_tokens = start.is_epoch_start().then_some(0);
        let mut stream = Self { order, groups, position: start, loaded_group: None, epoch_tokens };
        stream.check_position()?;
        Ok(stream)
    }

    pub fn position(&self) -> &StreamPosition {
        &self.position
    }

    /// Appends `count` tokens; fewer only at the end of `last_epoch`. Fails on an epoch with fewer than two tokens, which
    /// has nothing to predict.
    pub fn append_tokens(&mut self, count: usize, last_epoch: u64, tokens: &mut MarkedTokens) -> Result<()> {
        let mut left = count;
        while left > 0 {
            if !self.seek_next_token(last_epoch)? {
                return Ok(());
            }
            let Some(group) = &self.loaded_group else { return Ok(()) };
            let index = group.order[self.position.document as usize];
            let document = group.documents.get(index);
            let start = self.position.token as usize;
            let end = start + left.min(document.len() - start);
            // Ids are below the vocabulary size, which is far below 2^31.
            tokens.ids.extend(document[start..end].iter().map(|id| *id as i32));
            tokens.starts.extend((start..end).map(|token| token == 0));
            match group.documents.ignored(index) {
                Some(ignored) => tokens.ignored.extend(&ignored[start..end]),
                None => tokens.ignored.resize(tokens.ids.len(), false),
            }
            self.position.token = end as u64;
            self.epoch_tokens = self.epoch_tokens.map(|tokens_read| tokens_read + (end - start) as u64);
            left -= end - start;
        }
        Ok(())
    }

    /// Advances to the next position that has a token. Returns `false` at the end of `last_epoch`.
    pub fn seek_next_token(&mut self, last_epoch: u64) -> Result<bool> {
        loop {
            if self.position.group as usize >= self.groups.len() {
                if self.position.epoch >= last_epoch {
                    return Ok(false);
                }
                self.start_next_epoch()?;
                continue;
            }
            let (document, token) = (self.position.document as usize, self.position.token as usize);
            let group = self.current_group()?;
            let length = group.order.get(document).map(|index| group.documents.get(*index).len());
            match length {
                Some(length) if token < length => return Ok(true),
                Some(_) => {
                    self.position = StreamPosition { document: self.position.document + 1, token: 0, ..self.position }
                }
                None => {
                    self.position = StreamPosition {
                        group: self.position.group + 1,
                        ..StreamPosition::epoch_start(self.position.epoch)
                    };
                    self.loaded_group = None;
                }
            }
        }
    }

    /// Fails if the epoch had fewer than two tokens: repeating an empty epoch would never end.
    fn check_epoch_has_tokens(&self) -> Result<()> {
        match self.epoch_tokens {
            Some(count) if count < 2 => Err(DataError::Empty {
                file: self.order.shards[0].path().to_path_buf(),
                found: format!("{count} tokens in all rows of the split"),
                allowed: "at least 2 tokens in a split: one to read and one to predict",
            }),
            _ => Ok(()),
        }
    }

    fn start_next_epoch(&mut self) -> Result<()> {
        self.check_epoch_has_tokens()?;
        self.position = StreamPosition::epoch_start(self.position.epoch + 1);
        self.groups = self.order.group_order(self.position.epoch);
        self.loaded_group = None;
        self.epoch_tokens = Some(0);
        Ok(())
    }

    /// Returns the row group of the current position, and reads it if needed.
    fn current_group(&mut self) -> Result<&LoadedRowGroup> {
        let group = match self.loaded_group.take() {
            Some(group) => group,
            None => self.order.load_group(self.position.epoch, self.groups[self.position.group as usize])?,
        };
        Ok(self.loaded_group.insert(group))
    }

    fn check_position(&mut self) -> Result<()> {
        let position = self.position.clone();
        let groups = self.groups.len() as u64;
        if position.group > groups {
            return Err(self.position_error(format!("row group {}", position.group), format!("0 to {groups}")));
        }
        if (position.document, position.token) == (0, 0) {
            return Ok(());
        }
        if position.group == groups {
            let found = format!("document {} after the last group", position.document);
            return Err(self.position_error(found, "0".to_owned()));
        }
        let group = self.current_group()?;
        let documents = group.order.len() as u64;
        let length = group.order.get(position.document as usize).map(|index| group.documents.get(*index).len() as u64);
        match length {
            Some(length) if position.token <= length => Ok(()),
            Some(length) => Err(self.position_error(format!("token {}", position.token), format!("0 to {length}"))),
            None => Err(self.position_error(format!("document {}", position.document), format!("below {documents}"))),
        }
    }

    fn position_error(&self, found: String, allowed: String) -> DataError {
        let file = self.order.shards[0].path().to_path_buf();
        DataError::InvalidPosition { file, found, allowed: format!("{allowed} (has the dataset changed?)") }
    }
}

impl TokenOrder {
    /// Returns the pairs (shard, row group) in the order of an epoch.
    fn group_order(&self, epoch: u64) -> Vec<(usize, usize)> {
        let groups_of = |(index, shard): (usize, &Shard)| (0..shard.group_count()).map(move |group| (index, group));
        let mut groups: Vec<_> = self.shards.iter().enumerate().flat_map(groups_of).collect();
        if self.shuffle {
            groups.shuffle(&mut item_rng([self.seed, epoch, u64::MAX]));
        }
        groups
    }

    /// Reads a row group and orders its documents for an epoch.
    fn load_group(&self, epoch: u64, (shard, group): (usize, usize)) -> Result<LoadedRowGroup> {
        let documents = self.shards[shard].read_group(group, self.read_options)?;
        let mut order: Vec<usize> = (0..documents.len()).collect();
        if self.shuffle {
            let number: usize = self.shards[..shard].iter().map(Shard::group_count).sum::<usize>() + group;
            order.shuffle(&mut item_rng([self.seed, epoch, number as u64]));
        }
        Ok(LoadedRowGroup { documents, order })
    }
}
