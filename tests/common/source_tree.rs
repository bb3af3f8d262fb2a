//! Owns: reading `src/` as syntax trees: modules, the paths that each file names, the items that it defines.
//! Must not know: which dependencies are allowed.
//! Invariant: test modules are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};

/// One source file.
pub struct SourceFile {
    /// Path below `src/`, with `/`.
    pub name: String,
    /// Module path, such as `["train", "step", "optim"]`; empty for `lib.rs`.
    pub module: Vec<String>,
    pub text: String,
    pub syntax: syn::File,
}

impl SourceFile {
    /// The top-level module; `lib` and `main` for the crate roots.
    pub fn room(&self) -> &str {
        self.module.first().map_or(self.name.trim_end_matches(".rs"), String::as_str)
    }
}

/// Reads every file below `src/` but those of test modules.
pub fn source_files(root: &Path) -> Vec<SourceFile> {
    let src = root.join("src");
    let mut paths = Vec::new();
    collect(&src, &mut paths);
    paths.sort();
    paths.iter().map(|path| read(&src, path)).filter(|file| !file.module.iter().any(|name| name == "tests")).collect()
}

fn collect(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

fn read(src: &Path, path: &Path) -> SourceFile {
    let name = path.strip_prefix(src).unwrap().to_string_lossy().replace('\\', "/");
    let stem = name.trim_end_matches(".rs").trim_end_matches("/mod");
    let module = match stem {
        "lib" | "main" => Vec::new(),
        stem => stem.split('/').map(str::to_owned).collect(),
    };
    let text = std::fs::read_to_string(path).unwrap();
    let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    SourceFile { name, module, text, syntax }
}

/// Returns every path of this crate that the file names, absolute, in `use` items of any form and in code. A path that
/// starts with an imported module (`use crate::record;` … `record::recorder::x`) counts as the whole path.
pub fn crate_paths(file: &SourceFile) -> BTreeSet<Vec<String>> {
    let mut paths = CratePaths::new(file);
    paths.visit_file(&file.syntax);
    let imported = |path: &Vec<String>| {
        let start = paths.imports.get(path.first()?)?;
        Some([&start[..], &path[1..]].concat())
    };
    let through_imports: Vec<_> = paths.code.iter().filter_map(imported).collect();
    paths.found.extend(through_imports);
    paths.found
}

/// Returns what the file re-exports (`pub use`): name to absolute path. The name `*` stands for a glob.
pub fn re_exports(file: &SourceFile) -> Vec<(String, Vec<String>)> {
    let mut out = Vec::new();
    for item in &file.syntax.items {
        let syn::Item::Use(item) = item else { continue };
        if matches!(item.vis, syn::Visibility::Inherited) {
            continue;
        }
        let mut paths = CratePaths::new(file);
        paths.tree(&[], &item.tree);
        out.extend(paths.imports);
        out.extend(paths.globs.into_iter().map(|path| ("*".to_owned(), path)));
    }
    out
}

struct CratePaths {
    module: Vec<String>,
    /// Child modules that the file declares.
    children: BTreeSet<String>,
    found: BTreeSet<Vec<String>>,
    /// Imported name to absolute path.
    imports: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
    /// Paths in code, as written.
    code: Vec<Vec<String>>,
}

impl CratePaths {
    fn new(file: &SourceFile) -> Self {
        let child = |item: &syn::Item| match item {
            syn::Item::Mod(item) if item.content.is_none() => Some(item.ident.to_string()),
            _ => None,
        };
        Self {
            module: file.module.clone(),
            children: file.syntax.items.iter().filter_map(child).collect(),
            found: BTreeSet::new(),
            imports: BTreeMap::new(),
            globs: Vec::new(),
            code: Vec::new(),
        }
    }

    /// Makes a path absolute; `None` if it starts neither with a keyword nor with a child module.
    fn absolute(&self, segments: &[String]) -> Option<Vec<String>> {
        let mut at = self.module.clone();
        let (first, mut rest) = segments.split_first()?;
        match first.as_str() {
            "crate" | "coconut_lab" => at.clear(),
            "self" => {}
            "super" => {
                at.pop();
                while rest.first().is_some_and(|name| name == "super") {
                    at.pop();
                    rest = &rest[1..];
                }
            }
            child if self.children.contains(child) => at.push(child.to_owned()),
            _ => return None,
        }
        at.extend(rest.iter().filter(|name| *name != "self").cloned());
        Some(at)
    }

    fn tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.tree(&with(&path.ident), &path.tree),
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(before, item)),
            syn::UseTree::Name(name) => self.import(&with(&name.ident), None),
            syn::UseTree::Rename(rename) => self.import(&with(&rename.ident), Some(rename.rename.to_string())),
            syn::UseTree::Glob(_) => {
                self.keep(before);
                self.globs.extend(self.absolute(before));
            }
        }
    }

    fn import(&mut self, segments: &[String], alias: Option<String>) {
        self.keep(segments);
        if let Some(path) = self.absolute(segments) {
            let name = alias.or_else(|| path.last().cloned());
            self.imports.extend(name.map(|name| (name, path)));
        }
    }

    fn keep(&mut self, segments: &[String]) {
        self.found.extend(self.absolute(segments));
    }
}

impl<'ast> Visit<'ast> for CratePaths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.keep(&segments);
        if segments.len() > 1 {
            self.code.push(segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        // The arguments of a macro are tokens: search them for `crate :: room`.
        let tokens: Vec<String> = flatten(mac.tokens.clone());
        for (index, token) in tokens.iter().enumerate() {
            if ["crate", "super", "coconut_lab"].contains(&token.as_str()) {
                let mut segments = vec![token.clone()];
                let mut rest = tokens[index + 1..].iter();
                while let (Some(":"), Some(":"), Some(name)) =
                    (rest.next().map(String::as_str), rest.next().map(String::as_str), rest.next())
                {
                    segments.push(name.clone());
                }
                self.keep(&segments);
            }
        }
        visit::visit_macro(self, mac);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if is_test(&item.attrs) {
            return;
        }
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }
}

fn flatten(tokens: proc_macro2::TokenStream) -> Vec<String> {
    let mut out = Vec::new();
    for token in tokens {
        match token {
            proc_macro2::TokenTree::Group(group) => {
                out.push("(".to_owned());
                out.extend(flatten(group.stream()));
                out.push(")".to_owned());
            }
            token => out.push(token.to_string()),
        }
    }
    out
}

/// Whether `#[cfg(test)]` is among the attributes.
pub fn is_test(attrs: &[syn::Attribute]) -> bool {
    attrs.iter().any(|attr| {
        attr.path().is_ident("cfg") && attr.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}
