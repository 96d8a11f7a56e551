// SPDX-License-Identifier: GPL-2.0

//! Files of a crate that use one another in a circle: there must be none.
//!
//! A file uses another one if a path in it, in code or in a `use`, leads to something defined there. A name
//! that is handed on by `pub use` leads to the file that it comes from. The root of a crate puts it
//! together and does not count, and neither do tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};
use syn::visit::{self, Visit};

use crate::paths;

/// The roots of crates, from the top of the clone.
const ROOTS: [&str; 2] = ["src/dm_restore_main.rs", "scripts/xtask/src/lib.rs"];

/// Check every crate.
///
/// # Errors
///
/// A file cannot be read or parsed, or there is a circle: it is named.
pub fn check() -> Result<()> {
    let mut circles = Vec::new();
    for root in ROOTS {
        let mut files = Files::default();
        files.load(&paths::repo().join(root), Vec::new())?;
        ensure!(files.0.len() > 10, "{root}: only {} files", files.0.len());
        circles.extend(circle(&files.uses()));
    }
    ensure!(circles.is_empty(), "in a circle: {}", circles.join("; "));
    Ok(())
}

/// A module's path in its crate, without `crate`.
type Module = Vec<String>;

/// The files of a crate, by module.
#[derive(Default)]
struct Files(BTreeMap<Module, File>);

struct File {
    items: Vec<syn::Item>,
    /// Names that it hands on, and where each leads.
    exports: BTreeMap<String, Module>,
}

impl Files {
    fn load(&mut self, path: &Path, module: Module) -> Result<()> {
        let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        let parsed = syn::parse_file(&text).with_context(|| format!("{}", path.display()))?;
        self.add(path, module, parsed.items)
    }

    fn add(&mut self, path: &Path, module: Module, items: Vec<syn::Item>) -> Result<()> {
        for item in &items {
            let syn::Item::Mod(below) = item else {
                continue;
            };
            if below.content.is_none() && !is_test(&below.attrs) {
                let name = below.ident.to_string();
                let file = place(path, &module, below, &name);
                self.load(&file, [&module[..], &[name]].concat())?;
            }
        }
        let exports = exports(&items);
        self.0.insert(module, File { items, exports });
        Ok(())
    }

    /// Which file uses which.
    fn uses(&self) -> BTreeMap<&Module, BTreeSet<&Module>> {
        let files = self.0.iter().filter(|(module, _)| !module.is_empty());
        let uses = files.map(|(module, file)| {
            let mut paths = Paths {
                module: module.clone(),
                found: Vec::new(),
            };
            file.items.iter().for_each(|item| paths.visit_item(item));
            let leads = |(scope, path): &(Module, Module)| self.leads(scope, path);
            let used = paths.found.iter().filter_map(leads);
            (module, used.filter(|used| *used != module).collect())
        });
        uses.collect()
    }

    /// The file that has what `path` names, seen from `scope`.
    fn leads(&self, scope: &[String], path: &[String]) -> Option<&Module> {
        let supers = path.iter().take_while(|part| *part == "super").count();
        let (mut at, rest) = match path.first()?.as_str() {
            "crate" => (Module::new(), &path[1..]),
            "self" => (scope.to_vec(), &path[1..]),
            "super" => (
                scope[..scope.len().checked_sub(supers)?].to_vec(),
                &path[supers..],
            ),
            _ => (scope.to_vec(), path),
        };
        let named = supers > 0 || ["crate", "self"].contains(&path[0].as_str());
        let mut rest = rest.iter();
        let mut left = rest.next();
        let mut moved = named;
        while let Some(name) = left {
            let below = [&at[..], std::slice::from_ref(name)].concat();
            if !self.0.contains_key(&below) {
                break;
            }
            (at, moved, left) = (below, true, rest.next());
        }
        let (module, file) = self.0.get_key_value(&at)?;
        match left.and_then(|name| file.exports.get(name)) {
            Some(export) if moved => self.leads(module, export),
            _ => moved.then_some(module).filter(|module| !module.is_empty()),
        }
    }
}

/// The file of a module that is declared in another file.
fn place(of: &Path, module: &[String], declared: &syn::ItemMod, name: &str) -> PathBuf {
    let dir = of.parent().unwrap_or(Path::new(""));
    if let Some(given) = path_attribute(&declared.attrs) {
        return dir.join(given);
    }
    let gathers = module.is_empty() || of.file_name().is_some_and(|file| file == "mod.rs");
    let dir = match of.file_stem() {
        Some(stem) if !gathers => dir.join(stem),
        _ => dir.to_path_buf(),
    };
    let alone = dir.join(format!("{name}.rs"));
    if alone.exists() {
        alone
    } else {
        dir.join(name).join("mod.rs")
    }
}

fn path_attribute(attributes: &[syn::Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| {
        let syn::Meta::NameValue(given) = &attribute.meta else {
            return None;
        };
        match &given.value {
            syn::Expr::Lit(syn::ExprLit {
                lit: syn::Lit::Str(path),
                ..
            }) if given.path.is_ident("path") => Some(path.value()),
            _ => None,
        }
    })
}

/// Whether something is for tests alone, or for the model checker.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) if list.path.is_ident("cfg") => {
            let words = list.tokens.to_string();
            words.contains("test") || words.contains("loom")
        }
        _ => false,
    })
}

/// What `pub use` hands on, by name.
fn exports(items: &[syn::Item]) -> BTreeMap<String, Module> {
    let mut found = BTreeMap::new();
    for item in items {
        match item {
            syn::Item::Use(import) if !matches!(import.vis, syn::Visibility::Inherited) => {
                flatten(&import.tree, &mut Vec::new(), &mut |name, path| {
                    found.insert(name, path);
                });
            }
            _ => {}
        }
    }
    found
}

/// Each path of a `use`, with the name that it gets.
fn flatten(tree: &syn::UseTree, before: &mut Module, each: &mut impl FnMut(String, Module)) {
    let joined = |name: &syn::Ident| [&before[..], &[name.to_string()]].concat();
    match tree {
        syn::UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, each);
            before.pop();
        }
        syn::UseTree::Name(name) if name.ident == "self" => {
            let last = before.last().cloned().unwrap_or_default();
            each(last, before.clone());
        }
        syn::UseTree::Name(name) => each(name.ident.to_string(), joined(&name.ident)),
        syn::UseTree::Rename(rename) => each(rename.rename.to_string(), joined(&rename.ident)),
        syn::UseTree::Glob(_) => each("*".into(), before.clone()),
        syn::UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, before, each);
            }
        }
    }
}

/// The paths in a file, each with the module that it is in.
struct Paths {
    module: Module,
    found: Vec<(Module, Module)>,
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if is_test(&item.attrs) || item.content.is_none() {
            return;
        }
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let (module, found) = (&self.module, &mut self.found);
        flatten(&item.tree, &mut Vec::new(), &mut |_, path| {
            found.push((module.clone(), path));
        });
    }

    /// `pub(super)` uses nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts = path.segments.iter().map(|part| part.ident.to_string());
        self.found.push((self.module.clone(), parts.collect()));
        visit::visit_path(self, path);
    }
}

/// A circle, if there is one: the files in the order in which they use one another.
fn circle(uses: &BTreeMap<&Module, BTreeSet<&Module>>) -> Option<String> {
    let mut left: BTreeSet<&Module> = uses.keys().copied().collect();
    let next = |of: &Module, left: &BTreeSet<&Module>| {
        let mut used = uses.get(of).into_iter().flatten();
        used.find(|used| left.contains(*used)).copied()
    };
    while let Some(end) = left.iter().find(|file| next(file, &left).is_none()) {
        let end = *end;
        left.remove(end);
    }
    let mut way = vec![*left.first()?];
    loop {
        let following = next(way.last()?, &left)?;
        if let Some(start) = way.iter().position(|file| *file == following) {
            way.push(following);
            let names = way[start..].iter().map(|file| file.join("::"));
            return Some(names.collect::<Vec<_>>().join(" -> "));
        }
        way.push(following);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crate_of(files: &[(&str, &str)]) -> Files {
        let mut all = Files::default();
        for (module, text) in files {
            let items = syn::parse_file(text).unwrap().items;
            let exports = exports(&items);
            let module = module.split("::").filter(|part| !part.is_empty());
            let file = File { items, exports };
            all.0.insert(module.map(str::to_owned).collect(), file);
        }
        all
    }

    fn found(files: &[(&str, &str)]) -> Option<String> {
        circle(&crate_of(files).uses())
    }

    #[test]
    fn a_circle_is_found() {
        let ring = [
            ("", "mod a; mod b; mod c; mod d;"),
            ("a", "use crate::b::B;"),
            ("b", "fn f() -> super::c::C { todo!() }"),
            ("c", "use super::{a, d};"),
            ("d", ""),
        ];
        assert_eq!(found(&ring).unwrap(), "a -> b -> c -> a");
        assert_eq!(found(&ring[..3]), None);
    }

    #[test]
    fn a_name_that_is_handed_on_leads_to_where_it_comes_from() {
        let folder = [
            ("", "mod a;"),
            (
                "a",
                "mod b; mod c; pub use b::B; pub use crate::a::c::C as D;",
            ),
            ("a::b", "use super::D;"),
            ("a::c", ""),
        ];
        assert_eq!(found(&folder), None);
        let mut back = folder;
        back[3] = ("a::c", "use crate::a::B;");
        assert_eq!(found(&back).unwrap(), "a::b -> a::c -> a::b");
        let own = [
            folder[0],
            ("a", "mod b; fn f() { b::g() }"),
            ("a::b", "use super::f;"),
        ];
        assert_eq!(found(&own).unwrap(), "a -> a::b -> a");
    }

    #[test]
    fn modules_within_a_file_are_the_file() {
        let inner = [
            ("", "mod a; mod b;"),
            ("a", "mod inner { use super::X; use super::super::b::B; }"),
            ("b", "#[cfg(test)] mod tests { use crate::a::X; }"),
        ];
        assert_eq!(found(&inner), None);
        let uses = crate_of(&inner);
        let a = vec!["a".to_owned()];
        assert_eq!(uses.uses()[&a].len(), 1);
    }

    #[test]
    fn the_crates_are_read() {
        check().unwrap();
    }
}
