//! Owns: the conversion between text and token ids. Every tokenizer has one format: a Hugging Face
//! `tokenizers::Tokenizer`, kept as `tokenizer.json` next to the shards.
//! Must not know: text files, shards, tasks.
//! Invariant: ids equal those of Hugging Face's library for the same `tokenizer.json`, without added special
//! tokens, truncation or padding. Decoding and display never fail.

mod build;
mod end_tokens;
mod lookup;
mod markers;
mod pieces;
mod spelling;

use super::MAX_VOCAB;
use super::error::{DataError, Result};
use crate::files::foreign;
pub use end_tokens::{EndTokens, generation_end_tokens};
use lookup::WordTable;
pub(crate) use lookup::split_words;
pub use markers::MARKERS;
use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tokenizers::Tokenizer as HfTokenizer;

/// Largest size of a `tokenizer.json`, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// A tokenizer. It is cheap to clone.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
    /// The token that ends a document.
    end: Arc<EndTokens>,
}

struct Inner {
    /// Text of the `tokenizer.json`, as read from a file or as built by this program.
    json: String,
    tokenizer: HfTokenizer,
    vocab_size: usize,
    spelling: spelling::TokenSpelling,
    hash: OnceLock<String>,
    /// Faster encoder for the `words` vocabulary.
    lookup: Option<WordTable>,
}

impl Tokenizer {
    /// Creates the tokenizer `words`: one id per word of ProsQA and per punctuation mark.
    pub fn words() -> Result<Self> {
        Self::from_words(super::prosqa_words::all_words())
    }

    /// Gives an id to each of `words`, in this order, after `<unk>`, `<eos>` and the punctuation.
    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut tokenizer = Self::from_json("words", build::words_json(words))?;
        let vocab = tokenizer.inner.tokenizer.get_vocab(true);
        if let (Some(inner), Some(unknown)) = (Arc::get_mut(&mut tokenizer.inner), vocab.get(build::UNKNOWN).copied()) {
            inner.lookup = Some(WordTable::new(vocab, unknown));
        }
        Ok(tokenizer)
    }

    /// Creates the tokenizer `byte`: one id per byte, and `<|endoftext|>` = 256.
    pub fn byte() -> Result<Self> {
        Self::from_json("byte", build::byte_json())
    }

    /// Creates GPT-2's byte-pair tokenizer with 50257 ids, from the ranks in `tiktoken-rs`.
    pub fn gpt2() -> Result<Self> {
        Self::from_json("gpt2", build::gpt2_json()?)
    }

    pub fn from_file(path: &Path) -> Result<Self> {
        let read = foreign::read_text(path, MAX_FILE_BYTES);
        let json = read.map_err(|error| DataError::io(path, "be read as a tokenizer")(error.cause))?;
        if let Some(kind) = foreign::mistaken_kind(json.as_bytes()) {
            return Err(DataError::Tokenizer {
                tokenizer: path.display().to_string(),
                found: format!("the file is {kind}"),
                allowed: "a Hugging Face tokenizer.json",
            });
        }
        let tokenizer = Self::from_json(&path.display().to_string(), json)?;
        let token_id = |token: &str| tokenizer.token_id(token);
        let end = end_tokens::document_end_token(path.parent(), &token_id)?;
        Ok(Self { end: Arc::new(end), ..tokenizer })
    }

    /// Returns the tokenizer with another token at the end of documents: a token's text, or its id.
    pub fn with_end_token(&self, token: &str) -> Result<Self> {
        let id = self.parse_token(token)?;
        let end = EndTokens { ids: vec![id], source: "--eos".to_owned() };
        Ok(Self { end: Arc::new(end), ..self.clone() })
    }

    /// Returns the ids of the [`MARKERS`]. Those that the tokenizer lacks have the ids after its vocabulary.
    pub fn marker_ids(&self) -> [u32; MARKERS.len()] {
        let mut next = self.vocab_size() as u32;
        MARKERS.map(|marker| {
            self.token_id(marker).unwrap_or_else(|| {
                next += 1;
                next - 1
            })
        })
    }

    /// Returns the tokenizer with the [`MARKERS`] that it lacks as its last tokens.
    pub fn with_markers(self) -> Result<Self> {
        let missing = MARKERS.into_iter().zip(self.marker_ids()).filter(|(marker, _)| self.token_id(marker).is_none());
        let missing: Vec<_> = missing.collect();
        if missing.is_empty() {
            return Ok(self);
        }
        let Some(json) = markers::add(&self.inner.json, &missing) else { return Ok(self) };
        Ok(Self { end: self.end, ..Self::from_json("with markers", json)? })
    }

    /// Returns the tokenizer with the end token `id` that a dataset names.
    pub(super) fn with_end_id(self, id: u32) -> Self {
        let end = EndTokens { ids: vec![id], source: "the dataset".to_owned() };
        Self { end: Arc::new(end), ..self }
    }

    /// Returns the id of a token given by its text or its id.
    pub fn parse_token(&self, token: &str) -> Result<u32> {
        let by_id = || token.parse::<u32>().ok().filter(|id| (*id as usize) < self.vocab_size());
        self.token_id(token).or_else(by_id).ok_or_else(|| DataError::Tokenizer {
            tokenizer: "end token".to_owned(),
            found: format!("{token} is no token"),
            allowed: "the text of a token, or its id",
        })
    }

    /// Loads a tokenizer by name (`words`, `byte` or `gpt2`), or from the path of a `tokenizer.json`.
    pub fn from_name_or_file(name: &str) -> Result<Self> {
        match name {
            "words" => Self::words(),
            "byte" => Self::byte(),
            "gpt2" => Self::gpt2(),
            path if Path::new(path).exists() => Self::from_file(Path::new(path)),
            other => Err(DataError::Tokenizer {
                tokenizer: other.to_owned(),
                found: "not a known name and not a file".to_owned(),
                allowed: "words, byte, gpt2, or the path of a Hugging Face tokenizer.json",
            }),
        }
    }

    fn from_json(name: &str, json: String) -> Result<Self> {
        let read = foreign::catch_panic(|| HfTokenizer::from_bytes(json.as_bytes()).map_err(|error| error.to_string()));
        let mut tokenizer = read.and_then(|read| read).map_err(|error| DataError::Tokenizer {
            tokenizer: name.to_owned(),
            found: format!("cannot be loaded: {error}"),
            allowed: "a Hugging Face tokenizer.json",
        })?;
        // Documents are encoded whole. Padding and truncation settings are meant for inference.
        tokenizer.with_padding(None);
        let _ = tokenizer.with_truncation(None);
        let vocab_size = tokenizer.get_vocab(true).values().max().map_or(0, |id| *id as usize + 1);
        if vocab_size > MAX_VOCAB {
            return Err(DataError::Tokenizer {
                tokenizer: name.to_owned(),
                found: format!("a token has the id {}", vocab_size - 1),
                allowed: "ids below 16777216",
            });
        }
        let inner = Inner {
            json,
            vocab_size,
            spelling: spelling::TokenSpelling::detect(&tokenizer),
            tokenizer,
            hash: OnceLock::new(),
            lookup: None,
        };
        let known = Self { inner: Arc::new(inner), end: Arc::default() };
        let end = end_tokens::document_end_token(None, &|token| known.token_id(token))?;
        Ok(Self { end: Arc::new(end), ..known })
    }

    /// Returns the hash of a `tokenizer.json` text; none if it cannot be loaded.
    pub fn hash_of_json(json: &[u8]) -> Option<String> {
        let json = String::from_utf8(json.to_vec()).ok()?;
        Some(Self::from_json("tokenizer.json", json).ok()?.hash())
    }

    pub fn save(&self, path: &Path) -> Result<()> {
        std::fs::write(path, &self.inner.json).map_err(DataError::io(path, "be written"))
    }

    /// Returns a hash of the tokenizer: 16 hexadecimal digits (64-bit FNV-1a) over its serialized form. White
    /// space and key order of the file do not matter, nor do [`MARKERS`]; every other token, rule and id does.
    pub fn hash(&self) -> String {
        let compute = || {
            let without = markers::remove(&self.inner.json).map(|json| Self::from_json("without markers", json));
            if let Some(Ok(without)) = without {
                return without.hash();
            }
            let text = self.serialized();
            let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
        };
        self.inner.hash.get_or_init(compute).clone()
    }

    /// Returns the tokenizer as JSON without white space. The library's own form cannot be had if an id below the largest
    /// has no token: it would print all such ids to standard output.
    fn serialized(&self) -> String {
        let ids: HashSet<u32> = self.inner.tokenizer.get_vocab(false).into_values().collect();
        let has_holes = ids.iter().max().is_some_and(|last| ids.len() <= *last as usize);
        let library = || self.inner.tokenizer.to_string(false).ok();
        let own = || serde_json::from_str::<serde_json::Value>(&self.inner.json).ok().map(|value| value.to_string());
        let text = if has_holes { own() } else { library() };
        text.unwrap_or_else(|| self.inner.json.clone())
    }

    /// Returns the vocabulary size, which is the largest id + 1.
    pub fn vocab_size(&self) -> usize {
        self.inner.vocab_size
    }

    /// Returns the id of the token that ends a document, if there is one.
    pub fn eos_id(&self) -> Option<u32> {
        self.end.ids.first().copied()
    }

    /// Returns the end token, and what it was taken from.
    pub fn end_token(&self) -> &EndTokens {
        &self.end
    }

    /// Returns a token as the vocabulary spells it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.tokenizer.id_to_token(id)
    }

    /// Returns the text of the `tokenizer.json`.
    pub fn json(&self) -> &str {
        &self.inner.json
    }

    /// Returns a token that this tokenizer and `other` give different ids, if there is one: its text, both ids.
    pub fn first_difference(&self, other: &Self) -> Option<(String, Option<u32>, Option<u32>)> {
        if self.hash() == other.hash() {
            return None;
        }
        let (own, others) = (self.inner.tokenizer.get_vocab(true), other.inner.tokenizer.get_vocab(true));
        let mut differing: Vec<_> = own.into_iter().filter(|(token, id)| others.get(token) != Some(id)).collect();
        differing.sort_by_key(|(_, id)| *id);
        differing.into_iter().next().map(|(token, id)| (token.clone(), Some(id), others.get(&token).copied()))
    }

    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.tokenizer.token_to_id(token)
    }

    /// Encodes a text without special tokens. Fails on a text without ids, if there is no unknown token.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.tokenizer.encode_fast(text, false).map_err(|error| self.encode_error(&error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Encodes a text, with the special tokens that the tokenizer's template adds around it.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.tokenizer.encode_fast(text, true).map_err(|error| self.encode_error(&error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Encodes many texts like [`Tokenizer::encode`], on all cores.
    pub fn encode_all(&self, texts: &[String]) -> Result<Vec<Vec<u32>>> {
        let look_up = |lookup: &WordTable| texts.iter().map(|text| lookup.encode(text)).collect();
        if let Some(ids) = self.inner.lookup.as_ref().and_then(look_up) {
            return Ok(ids);
        }
        let texts = texts.iter().map(String::as_str).collect();
        let encodings =
            self.inner.tokenizer.encode_batch_fast(texts, false).map_err(|error| self.encode_error(&error))?;
        Ok(encodings.into_iter().map(|encoding| encoding.get_ids().to_vec()).collect())
    }

    /// Encodes many texts, and appends the end-of-document token, if there is one, to all that are not empty. Long texts
    /// are encoded in pieces.
    pub fn encode_documents(&self, texts: &[String]) -> Result<Vec<Vec<u32>>> {
        let is_long = |text: &String| text.len() > pieces::WHOLE_BYTES && self.inner.lookup.is_none();
        let mut documents = Vec::with_capacity(texts.len());
        for run in texts.chunk_by(|one, other| !is_long(one) && !is_long(other)) {
            match run {
                [text] if is_long(text) => {
                    let ids = pieces::encode_long(&self.inner.tokenizer, text);
                    documents.push(ids.map_err(|error| self.encode_error(&error))?);
                }
                short => documents.extend(self.encode_all(short)?),
            }
        }
        for document in documents.iter_mut().filter(|document| !document.is_empty()) {
            document.extend(self.eos_id());
        }
        Ok(documents)
    }

    /// Decodes ids to text, special tokens included; unknown ids become those of [`Tokenizer::token_text`].
    pub fn decode(&self, ids: &[u32]) -> String {
        match self.inner.tokenizer.decode(ids, false) {
            Ok(text) if ids.iter().all(|id| self.inner.tokenizer.id_to_token(*id).is_some()) => text,
            _ => ids.iter().map(|id| self.token_text(*id)).collect(),
        }
    }

    /// Returns the number of bytes of text that `ids` spell. A special token spells none, nor does an unknown id. A part of
    /// a character counts its own bytes. If the vocabulary loses white space, the bytes are those of the decoded text.
    pub fn text_bytes(&self, ids: &[u32]) -> usize {
        let added = self.inner.tokenizer.get_added_vocabulary();
        let is_text = |id: u32, token: &str| !added.is_special_token(token) && Some(id) != self.eos_id();
        let texts = ids.iter().filter_map(|id| Some((*id, self.inner.tokenizer.id_to_token(*id)?)));
        let texts: Vec<_> = texts.filter(|(id, token)| is_text(*id, token)).collect();
        let bytes = |(_, token): &(u32, String)| match added.get_vocab().contains_key(token) {
            // Added tokens are in the text as they are.
            true => Some(token.len()),
            false => self.inner.spelling.text_bytes(token),
        };
        let from_tokens = texts.iter().map(bytes).sum::<Option<usize>>();
        from_tokens.unwrap_or_else(|| self.decode(&texts.iter().map(|(id, _)| *id).collect::<Vec<_>>()).len())
    }

    /// Returns the text of a single token for display. A leading space is kept. Control characters and bytes
    /// that are not a whole character are escaped (`\n`, `\xe2`). An id that does not exist becomes `<#id>`.
    pub fn token_text(&self, id: u32) -> String {
        match self.inner.tokenizer.id_to_token(id) {
            Some(token) => self.inner.spelling.display_text(&token, &self.inner.tokenizer),
            None => format!("<#{id}>"),
        }
    }

    fn encode_error(&self, error: &tokenizers::Error) -> DataError {
        DataError::Tokenizer {
            tokenizer: "encoding".to_owned(),
            found: error.to_string(),
            allowed: "text that the tokenizer has ids for, or a tokenizer with an unknown token",
        }
    }
}
