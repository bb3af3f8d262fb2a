//! Owns text ↔ ids. One format for all: a Hugging Face `tokenizers::Tokenizer`, kept as `tokenizer.json` beside the shards.
//!
//! Must not know: files of text, shards, tasks. Invariant: ids are those that Hugging Face's own library gives for the
//! same `tokenizer.json` without special tokens added, truncation or padding; decoding and display never fail.

mod build;
mod lookup;
mod piece;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use lookup::Lookup;
use tokenizers::Tokenizer;

use super::error::{DataError, Result};
pub(crate) use lookup::split_words;

/// Tokens that end a document, in the order in which they are looked for.
const END_TOKENS: [&str; 7] =
    ["<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "[EOS]", "<|end▁of▁sentence|>"];

/// A tokenizer, cheap to clone.
#[derive(Clone)]
pub struct Codec {
    inner: Arc<Inner>,
}

struct Inner {
    /// The `tokenizer.json` to save: a file's own text, or what was built.
    json: String,
    tokenizer: Tokenizer,
    vocab_size: usize,
    eos_id: Option<u32>,
    style: piece::Style,
    hash: OnceLock<String>,
    /// For the `words` vocabulary: many times quicker than the library.
    lookup: Option<Lookup>,
}

impl Codec {
    /// One id a word of the fixed ProsQA vocabulary, punctuation apart.
    ///
    /// # Errors
    /// None in practice: the vocabulary is part of the program.
    pub fn words() -> Result<Self> {
        Self::from_words(super::prosqa::words())
    }

    /// One id a word of `words` (in this order, after `<unk>`, `<eos>` and the punctuation).
    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut codec = Self::from_json("words", build::words_json(words))?;
        let vocab = codec.inner.tokenizer.get_vocab(true);
        if let (Some(inner), Some(unknown)) =
            (Arc::get_mut(&mut codec.inner), vocab.get(build::UNKNOWN).copied())
        {
            inner.lookup = Some(Lookup::new(vocab, unknown));
        }
        Ok(codec)
    }

    /// The 256 bytes and `<|endoftext|>` = 256.
    pub fn byte() -> Result<Self> {
        Self::from_json("byte", build::byte_json())
    }

    /// GPT-2's byte-pair vocabulary of 50257, from the ranks that `tiktoken-rs` carries.
    ///
    /// # Errors
    /// None in practice: the ranks are part of the program.
    pub fn gpt2() -> Result<Self> {
        Self::from_json("gpt2", build::gpt2_json()?)
    }

    /// Any Hugging Face `tokenizer.json`.
    ///
    /// # Errors
    /// The file cannot be read or is not a tokenizer.
    pub fn from_file(path: &Path) -> Result<Self> {
        let json = std::fs::read_to_string(path).map_err(DataError::io(path, "be read as a tokenizer"))?;
        Self::from_json(&path.display().to_string(), json)
    }

    /// `words`, `byte`, `gpt2`, or the path of a `tokenizer.json`.
    ///
    /// # Errors
    /// None of these, or a file that is not a tokenizer.
    pub fn from_name_or_file(name: &str) -> Result<Self> {
        match name {
            "words" => Self::words(),
            "byte" => Self::byte(),
            "gpt2" => Self::gpt2(),
            path if Path::new(path).exists() => Self::from_file(Path::new(path)),
            other => Err(DataError::Tokenizer {
                tokenizer: other.to_owned(),
                found: "neither a known name nor a file".to_owned(),
                allowed: "words, byte, gpt2, or the path of a Hugging Face tokenizer.json",
            }),
        }
    }

    fn from_json(name: &str, json: String) -> Result<Self> {
        let mut tokenizer = Tokenizer::from_bytes(json.as_bytes()).map_err(|error| DataError::Tokenizer {
            tokenizer: name.to_owned(),
            found: format!("cannot be loaded: {error}"),
            allowed: "a Hugging Face tokenizer.json",
        })?;
        // A document is encoded whole; what a model's inference wants is no business of the shards.
        tokenizer.with_padding(None);
        let _ = tokenizer.with_truncation(None);
        let vocab = tokenizer.get_vocab(true);
        let inner = Inner {
            json,
            vocab_size: vocab.values().max().map_or(0, |id| *id as usize + 1),
            eos_id: END_TOKENS.iter().find_map(|token| vocab.get(*token).copied()),
            style: piece::Style::of(&tokenizer),
            tokenizer,
            hash: OnceLock::new(),
            lookup: None,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Writes the `tokenizer.json`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        std::fs::write(path, &self.inner.json).map_err(DataError::io(path, "be written"))
    }

    /// 16 hexadecimal digits (64-bit FNV-1a) over the tokenizer's own serialization: white space and key order of the
    /// file do not count, every token, rule and id does.
    pub fn hash(&self) -> String {
        let compute = || {
            let text = self.inner.tokenizer.to_string(false).unwrap_or_else(|_| self.inner.json.clone());
            let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
        };
        self.inner.hash.get_or_init(compute).clone()
    }

    /// The largest id + 1.
    pub fn vocab_size(&self) -> usize {
        self.inner.vocab_size
    }

    /// The token that ends a document: the first of `<|endoftext|>`, `<|end_of_text|>`, `</s>`, `<eos>` … that it has.
    pub fn eos_id(&self) -> Option<u32> {
        self.inner.eos_id
    }

    /// The id of one token by its exact text.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.tokenizer.token_to_id(token)
    }

    /// Ids of a text; no special tokens are added.
    ///
    /// # Errors
    /// The tokenizer has no id for something in the text and no unknown token either.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.tokenizer.encode_fast(text, false).map_err(|error| self.failed(&error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Ids of a text with the special tokens that the tokenizer's own template puts around one.
    ///
    /// # Errors
    /// As [`Codec::encode`].
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.tokenizer.encode_fast(text, true).map_err(|error| self.failed(&error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// [`Codec::encode`] of many texts, on all cores.
    ///
    /// # Errors
    /// As [`Codec::encode`].
    pub fn encode_all(&self, texts: &[String]) -> Result<Vec<Vec<u32>>> {
        let quick = |lookup: &Lookup| texts.iter().map(|text| lookup.encode(text)).collect();
        if let Some(ids) = self.inner.lookup.as_ref().and_then(quick) {
            return Ok(ids);
        }
        let texts = texts.iter().map(String::as_str).collect();
        let encodings =
            self.inner.tokenizer.encode_batch_fast(texts, false).map_err(|error| self.failed(&error))?;
        Ok(encodings.into_iter().map(|encoding| encoding.get_ids().to_vec()).collect())
    }

    /// [`Codec::encode_all`], each with the end-of-document token where the tokenizer has one; an empty text stays empty.
    ///
    /// # Errors
    /// As [`Codec::encode`].
    pub fn encode_documents(&self, texts: &[String]) -> Result<Vec<Vec<u32>>> {
        let mut documents = self.encode_all(texts)?;
        for document in documents.iter_mut().filter(|document| !document.is_empty()) {
            document.extend(self.inner.eos_id);
        }
        Ok(documents)
    }

    /// The text of ids, special tokens included. Ids that do not exist are shown as [`Codec::piece`] shows them.
    pub fn decode(&self, ids: &[u32]) -> String {
        match self.inner.tokenizer.decode(ids, false) {
            Ok(text) if ids.iter().all(|id| self.inner.tokenizer.id_to_token(*id).is_some()) => text,
            _ => ids.iter().map(|id| self.piece(*id)).collect(),
        }
    }

    /// The text of a single token, for display: a leading space is kept, control characters and bytes that are no
    /// whole character come as escapes (`\n`, `\xe2`), an id that does not exist as `<#id>`.
    pub fn piece(&self, id: u32) -> String {
        match self.inner.tokenizer.id_to_token(id) {
            Some(token) => self.inner.style.show(&token, &self.inner.tokenizer),
            None => format!("<#{id}>"),
        }
    }

    fn failed(&self, error: &tokenizers::Error) -> DataError {
        DataError::Tokenizer {
            tokenizer: "encoding".to_owned(),
            found: error.to_string(),
            allowed: "text that the tokenizer has ids for, or a tokenizer with an unknown token",
        }
    }
}
