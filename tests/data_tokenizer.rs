//! Tests tokenizers: ids against the reference implementations, saving and loading, display of tokens.

use std::path::Path;
use std::time::Instant;

use coconut_lab::data::Tokenizer;

const TRICKY: [&str; 10] = [
    "",
    "Hello world, it's 2024!  I'll say: they've we're he'd I'm don't",
    "   leading, trailing   \n\n\n\t tabs\t\tand\r\nCRLF \u{a0}nbsp \u{3000}wide ",
    "naïve café — “quotes” … 日本語のテキスト 한국어 Привет עברית العربية",
    "👩‍👩‍👧‍👦 🏳️‍🌈 e\u{301} \u{200b}zero",
    "1234567890 3.14159 0x1F600 1e-9 ½ ² Ⅷ ٣",
    "snake_case camelCase kebab-case a/b\\c {\"json\": [1, 2]} <tag attr='x'/>",
    "'S 'T 'LL don'T 'sup ''' \"''\"",
    "\u{0}\u{1}\u{7f}\u{ffff}\u{10ffff}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa            x",
];

#[test]
fn gpt2_ids_match_tiktoken() {
    let tokenizer = Tokenizer::gpt2().unwrap();
    let reference = tiktoken_rs::r50k_base().unwrap();
    assert_eq!((tokenizer.vocab_size(), tokenizer.eos_id()), (50257, Some(50256)));
    for text in TRICKY {
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(ids, reference.encode_with_special_tokens(text), "{text:?}");
        assert_eq!(tokenizer.decode(&ids), text);
    }
    assert_eq!(tokenizer.encode("a<|endoftext|>b").unwrap(), [64, 50256, 65]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/text/tinyshakespeare.txt");
    let Ok(text) = std::fs::read_to_string(&path) else {
        return println!("skipped: {} is absent", path.display());
    };
    assert!(tokenizer.encode(&text).unwrap() == reference.encode_with_special_tokens(&text));
}

#[test]
fn byte_ids_are_the_bytes_and_long_documents_are_fast() {
    let tokenizer = Tokenizer::byte().unwrap();
    assert_eq!((tokenizer.vocab_size(), tokenizer.eos_id()), (257, Some(256)));
    for text in TRICKY {
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(ids, text.bytes().map(u32::from).collect::<Vec<u32>>(), "{text:?}");
        assert_eq!(tokenizer.decode(&ids), text);
    }
    for long in ["word and ".repeat(120_000), "x".repeat(1 << 20), " ".repeat(1 << 20)] {
        let began = Instant::now();
        assert_eq!(tokenizer.encode(&long).unwrap().len(), long.len());
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    }
}

#[test]
fn each_word_is_one_id_and_decoding_restores_the_text() {
    let tokenizer = Tokenizer::words().unwrap();
    let text = "Every terpus is a brimpus. Is Tom a lempus or scrompus? Tom is a lempus.";
    let ids = tokenizer.encode(text).unwrap();
    assert_eq!(ids.len(), 6 + 7 + 5);
    assert_eq!(tokenizer.decode(&ids), text);
    assert_eq!(ids.iter().map(|id| tokenizer.token_text(*id)).collect::<Vec<_>>()[..3], ["Every", "terpus", "is"]);
    assert_eq!(tokenizer.decode(&tokenizer.encode("Tom is a unicorn.").unwrap()), "Tom is a <unk>.");
    // The fast path gives the same ids as the library.
    for text in TRICKY.into_iter().chain([text, "Tom is a unicorn?!.", "Every<eos> is", " .a..b. ", "Tom\nis\ta"]) {
        assert_eq!(tokenizer.encode_all(&[text.to_owned()]).unwrap(), [tokenizer.encode(text).unwrap()], "{text:?}");
    }
    assert_eq!(tokenizer.encode("Tom<eos>").unwrap()[1..], [tokenizer.eos_id().unwrap()]);
}

#[test]
fn saving_and_loading_keeps_ids_and_hash() {
    let dir = tempfile::tempdir().unwrap();
    let mut hashes = Vec::new();
    for name in ["words", "byte", "gpt2"] {
        let tokenizer = Tokenizer::from_name_or_file(name).unwrap();
        let path = dir.path().join(format!("{name}.json"));
        tokenizer.save(&path).unwrap();
        let loaded = Tokenizer::from_name_or_file(path.to_str().unwrap()).unwrap();
        assert_eq!(loaded.hash(), tokenizer.hash(), "{name}");
        assert_eq!((loaded.vocab_size(), loaded.eos_id()), (tokenizer.vocab_size(), tokenizer.eos_id()));
        for text in TRICKY {
            assert_eq!(loaded.encode(text).unwrap(), tokenizer.encode(text).unwrap());
        }
        hashes.push(tokenizer.hash());
    }
    hashes.dedup();
    assert_eq!(hashes.len(), 3);
}

#[test]
fn token_texts_are_printable() {
    let tokenizer = Tokenizer::gpt2().unwrap();
    let show =
        |text: &str| tokenizer.encode(text).unwrap().iter().map(|id| tokenizer.token_text(*id)).collect::<Vec<_>>();
    assert_eq!(show("Hello world\n"), ["Hello", " world", "\\n"]);
    assert!(show("𓀀").iter().any(|piece| piece.contains("\\x")));
    assert_eq!(
        (tokenizer.token_text(50256), tokenizer.token_text(99_999)),
        ("<|endoftext|>".to_owned(), "<#99999>".to_owned())
    );
    assert_eq!(tokenizer.decode(&[15496, 99_999]), "Hello<#99999>");
    for id in 0..50257 {
        assert!(!tokenizer.token_text(id).chars().any(char::is_control));
    }
}

#[test]
fn invalid_tokenizers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    std::fs::write(&path, "{\"model\": 3}").unwrap();
    let error = Tokenizer::from_file(&path).err().unwrap().to_string();
    assert!(error.contains("tokenizer.json: cannot be loaded"), "{error}");
    let error = Tokenizer::from_name_or_file("gpt5").err().unwrap().to_string();
    assert!(error.contains("words, byte, gpt2"), "{error}");
}

#[test]
fn ids_without_tokens_change_nothing_and_huge_ids_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokenizer.json");
    let write = |id: u64| {
        let vocab = format!(r#"{{"[UNK]": 0, "a": {id}}}"#);
        let model = format!(r#"{{"type": "WordLevel", "unk_token": "[UNK]", "vocab": {vocab}}}"#);
        std::fs::write(&file, format!(r#"{{"version": "1.0", "added_tokens": [], "model": {model}}}"#)).unwrap();
    };
    write(5);
    let tokenizer = Tokenizer::from_file(&file).unwrap();
    assert_eq!((tokenizer.vocab_size(), tokenizer.encode("a").unwrap()), (6, vec![5]));
    let spaced = std::fs::read_to_string(&file).unwrap().replace(':', " :\n");
    assert_eq!(Tokenizer::hash_of_json(spaced.as_bytes()), Some(tokenizer.hash()));
    write(u64::from(u32::MAX));
    let error = Tokenizer::from_file(&file).err().unwrap().to_string();
    assert!(error.contains("id 4294967295") && error.contains("below 16777216"), "{error}");
}
