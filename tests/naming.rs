//! Checks the names in the code: a type name has one meaning, a function name states what the function does, and every
//! type in the glossary exists.

#[path = "common/source_tree.rs"]
#[allow(dead_code)] // each test uses a part of it
mod source_tree;

use source_tree::{is_test, source_files};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use syn::visit::{self, Visit};

/// The most modules in which one bare type name may be defined.
const MAX_HOMES: usize = 2;
/// Type names that are conventional in every module.
const CONVENTIONAL: &[&str] = &["Error", "Result"];
/// Words that say too little to name a function.
const BARE_WORDS: &[&str] = &[
    "of", "take", "tell", "told", "say", "said", "own", "at", "mend", "goes", "behind", "beside", "fed", "saw", "note",
    "look", "back", "turn", "settle", "obey", "deal", "join", "awake", "again", "anew",
];
/// Names that break a rule above, as `file: name`. The list can only shrink: the test fails if one is not needed.
const EXCEPTIONS: &[&str] = &[];

/// Collects the types and functions that a file defines outside of tests.
#[derive(Default)]
struct Definitions {
    types: BTreeSet<String>,
    functions: BTreeSet<String>,
    in_trait_impl: bool,
}

impl<'ast> Visit<'ast> for Definitions {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.types.insert(item.ident.to_string());
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.types.insert(item.ident.to_string());
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.types.insert(item.ident.to_string());
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.types.insert(item.ident.to_string());
        visit::visit_item_trait(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.functions.insert(item.sig.ident.to_string());
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let outer = std::mem::replace(&mut self.in_trait_impl, item.trait_.is_some());
        visit::visit_item_impl(self, item);
        self.in_trait_impl = outer;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !self.in_trait_impl && !is_test(&item.attrs) {
            self.functions.insert(item.sig.ident.to_string());
        }
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test(&item.attrs) {
            self.functions.insert(item.sig.ident.to_string());
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        // `sections! { Run = "run" { … } … }` and `text_enums! { Arch { … } … }` define the types that they name.
        if ["section", "sections", "text_enum", "text_enums"].iter().any(|name| item.mac.path.is_ident(name)) {
            self.types.extend(outer_names(item.mac.tokens.clone()));
        }
        if item.mac.path.is_ident("macro_rules") {
            collect_types(item.mac.tokens.clone(), &mut self.types);
        }
    }
}

/// Returns the capitalised names outside of all brackets.
fn outer_names(tokens: proc_macro2::TokenStream) -> impl Iterator<Item = String> {
    let name = |token| match token {
        proc_macro2::TokenTree::Ident(name) => Some(name.to_string()),
        _ => None,
    };
    tokens.into_iter().filter_map(name).filter(|name| name.starts_with(char::is_uppercase))
}

/// Collects the types that a macro's body defines under a fixed name.
fn collect_types(tokens: proc_macro2::TokenStream, types: &mut BTreeSet<String>) {
    let mut follows_keyword = false;
    for token in tokens {
        match token {
            proc_macro2::TokenTree::Ident(name) if follows_keyword => drop(types.insert(name.to_string())),
            proc_macro2::TokenTree::Ident(name) => {
                follows_keyword = name == "struct" || name == "enum";
                continue;
            }
            proc_macro2::TokenTree::Group(group) => collect_types(group.stream(), types),
            _ => {}
        }
        follows_keyword = false;
    }
}

fn definitions() -> Vec<(String, Definitions)> {
    let files = source_files(Path::new(env!("CARGO_MANIFEST_DIR")));
    let define = |file: source_tree::SourceFile| {
        let mut found = Definitions::default();
        found.visit_file(&file.syntax);
        (file.name, found)
    };
    files.into_iter().map(define).collect()
}

#[test]
fn one_word_means_one_thing() {
    let definitions = definitions();
    let mut homes = BTreeMap::<&str, Vec<&str>>::new();
    for (file, found) in &definitions {
        for name in found.types.iter().filter(|name| !CONVENTIONAL.contains(&name.as_str())) {
            homes.entry(name).or_default().push(file);
        }
    }
    let homonyms = homes.iter().filter(|(_, files)| files.len() > MAX_HOMES);
    let homonyms = homonyms.flat_map(|(name, files)| files.iter().map(move |file| format!("{file}: {name}")));
    let bare = definitions.iter().flat_map(|(file, found)| {
        let names = found.functions.iter().filter(|name| BARE_WORDS.contains(&name.as_str()));
        names.map(move |name| format!("{file}: {name}"))
    });
    let found: BTreeSet<String> = homonyms.chain(bare).collect();
    let allowed: BTreeSet<String> = EXCEPTIONS.iter().map(|&name| name.to_owned()).collect();
    let new: Vec<_> = found.difference(&allowed).collect();
    assert!(new.is_empty(), "give these names a noun, or a verb and its object: {new:#?}");
    let old: Vec<_> = allowed.difference(&found).collect();
    assert!(old.is_empty(), "EXCEPTIONS lists what is no exception any more; remove: {old:#?}");
}

#[test]
fn every_type_in_the_glossary_exists() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/glossary.md");
    let glossary = std::fs::read_to_string(page).unwrap();
    let rows: Vec<Vec<&str>> = glossary
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| ---"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(rows.len() > 50, "the glossary is a table");
    let files = source_files(Path::new(env!("CARGO_MANIFEST_DIR")));
    let modules: BTreeSet<String> = files.iter().map(|file| file.module.join("::")).collect();
    let defined = definitions();
    let types: BTreeSet<&String> = defined.iter().flat_map(|(_, found)| &found.types).collect();
    let functions: BTreeSet<&String> = defined.iter().flat_map(|(_, found)| &found.functions).collect();
    let mut terms = Vec::new();
    for row in &rows[1..] {
        let [term, meaning, _, code] = row[..] else { panic!("four cells, not {row:?}") };
        assert!(!meaning.is_empty(), "{term} has no meaning");
        terms.push(term.to_lowercase());
        for path in code.split('`').skip(1).step_by(2) {
            let exists = if path.starts_with(char::is_uppercase) {
                types.contains(&path.to_owned())
            } else {
                modules.contains(path) || functions.contains(&path.to_owned())
            };
            assert!(exists, "{term}: src/ has no {path}");
        }
    }
    let sorted: BTreeSet<&String> = terms.iter().collect();
    assert_eq!(
        terms.iter().collect::<Vec<_>>(),
        sorted.into_iter().collect::<Vec<_>>(),
        "in alphabetical order, once each"
    );
}
