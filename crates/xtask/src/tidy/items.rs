//! The public items of the library: what each is called, what its documentation says, and where it stands.
//!
//! The lint `unreachable_pub` sees to it that what is written `pub` can be reached, so the syntax tells nearly all.
//! Two kinds are left out: what `#[doc(hidden)]` hides, and what users cannot name, such as a sealed trait, since it
//! is in a private module and no `pub use` gives it to them.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow};
use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;
use syn::{Attribute, Expr, Ident, ImplItem, Lit, Meta, TraitItem, UseTree, Visibility};

/// An item that users can name.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) kind: Kind,
    /// The modules from the root, the type if it is a method, and the name; empty for the root itself.
    pub(super) path: Vec<String>,
    /// What `Self` means in the documentation.
    pub(super) self_type: Option<String>,
    pub(super) documentation: String,
    /// What the signature of a function names.
    pub(super) signature: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Module,
    Function,
    /// Of a type or of a trait.
    Method,
    /// A type, a trait, a constant or a macro.
    Other,
}

/// All items, as the files are read.
#[derive(Debug, Default)]
pub(super) struct Items {
    found: Vec<Item>,
    /// The paths of what is declared `pub` where it stands.
    public: BTreeSet<Vec<String>>,
    /// The names that a `pub use` gives.
    exported: BTreeSet<String>,
    /// The paths of what is hidden, and of modules of tests.
    left_out: Vec<Vec<String>>,
}

impl Items {
    /// Takes the items of a file that holds the module `module`.
    pub(super) fn read(&mut self, file: &str, source: &str, module: &[String]) -> Result<()> {
        let parsed = syn::parse_file(source).map_err(|error| anyhow!("no Rust: {error}"))?;
        let place = Place { file, module };
        // What a `//!` says belongs to the module, wherever the module is declared.
        place.push(
            self,
            Kind::Module,
            &[],
            1,
            documentation(&parsed.attrs),
            None,
        );
        self.items(&parsed.items, &place);
        Ok(())
    }

    /// What users can name, of all that was read.
    pub(super) fn into_public(self) -> Vec<Item> {
        let Self {
            found,
            public,
            exported,
            left_out,
        } = self;
        let is_public = |item: &Item| {
            let owner = match item.kind {
                Kind::Method => &item.path[..item.path.len() - 1],
                _ => &item.path[..],
            };
            // From the item outwards, until a `pub use` gives it to users, or the root is reached.
            let outwards = || (1..=owner.len()).rev().map(|length| &owner[..length]);
            let given = outwards().find(|path| exported.contains(&path[path.len() - 1]));
            let given = given.map_or(0, <[String]>::len);
            let is_named = outwards()
                .take_while(|path| path.len() >= given)
                .all(|path| public.contains(path));
            let is_left_out = |module: &Vec<String>| item.path.starts_with(module);
            is_named && !left_out.iter().any(is_left_out)
        };
        found.into_iter().filter(is_public).collect()
    }

    fn items(&mut self, items: &[syn::Item], place: &Place<'_>) {
        for item in items {
            self.item(item, place);
        }
    }

    fn item(&mut self, item: &syn::Item, place: &Place<'_>) {
        let (attributes, visibility, name, kind) = match item {
            syn::Item::Const(item) => (&item.attrs, &item.vis, &item.ident, Kind::Other),
            syn::Item::Enum(item) => (&item.attrs, &item.vis, &item.ident, Kind::Other),
            syn::Item::Fn(item) => (&item.attrs, &item.vis, &item.sig.ident, Kind::Function),
            syn::Item::Static(item) => (&item.attrs, &item.vis, &item.ident, Kind::Other),
            syn::Item::Struct(item) => (&item.attrs, &item.vis, &item.ident, Kind::Other),
            syn::Item::Trait(item) => (&item.attrs, &item.vis, &item.ident, Kind::Other),
            syn::Item::Type(item) => (&item.attrs, &item.vis, &item.ident, Kind::Other),
            syn::Item::Union(item) => (&item.attrs, &item.vis, &item.ident, Kind::Other),
            syn::Item::Mod(item) => return self.module(item, place),
            syn::Item::Impl(item) => return self.methods(item, place),
            syn::Item::Macro(item) => return self.macros(item, place),
            syn::Item::Use(item) => {
                if is_public(&item.vis) && !is_hidden(&item.attrs) {
                    exported_names(&item.tree, &mut self.exported);
                }
                return;
            }
            _ => return,
        };
        let name_text = name.to_string();
        if is_hidden(attributes) {
            self.left_out.push(place.path(&[&name_text]));
            return;
        }
        if !is_public(visibility) {
            return;
        }
        let signature = match item {
            syn::Item::Fn(item) => Some(names_in(&item.sig)),
            _ => None,
        };
        self.public.insert(place.path(&[&name_text]));
        place.push(
            self,
            kind,
            &[&name_text],
            line_of(name),
            documentation(attributes),
            signature,
        );
        if let syn::Item::Trait(item) = item {
            for member in &item.items {
                if let TraitItem::Fn(method) = member
                    && !is_hidden(&method.attrs)
                {
                    self.method(&method.sig, &method.attrs, &name_text, place);
                }
            }
        }
    }

    fn module(&mut self, item: &syn::ItemMod, place: &Place<'_>) {
        let path = place.path(&[&item.ident.to_string()]);
        if is_hidden(&item.attrs) || is_for_tests(&item.attrs) {
            self.left_out.push(path);
            return;
        }
        if is_public(&item.vis) {
            self.public.insert(path.clone());
        }
        if let Some((_, items)) = &item.content {
            let inner = Place {
                file: place.file,
                module: &path,
            };
            let line = line_of(&item.ident);
            let text = documentation(&item.attrs);
            inner.push(self, Kind::Module, &[], line, text, None);
            self.items(items, &inner);
        }
    }

    /// The methods of a type. Those of a trait are not written `pub`; they are covered by the trait.
    fn methods(&mut self, item: &syn::ItemImpl, place: &Place<'_>) {
        let syn::Type::Path(of) = &*item.self_ty else {
            return;
        };
        let Some(of) = of.path.segments.last() else {
            return;
        };
        if is_hidden(&item.attrs) || is_for_tests(&item.attrs) {
            return;
        }
        for member in &item.items {
            if let ImplItem::Fn(method) = member
                && is_public(&method.vis)
                && !is_hidden(&method.attrs)
            {
                self.method(&method.sig, &method.attrs, &of.ident.to_string(), place);
            }
        }
    }

    fn method(
        &mut self,
        signature: &syn::Signature,
        attributes: &[Attribute],
        of: &str,
        place: &Place<'_>,
    ) {
        let name = signature.ident.to_string();
        // A type may have methods in a file that does not define it.
        self.public.insert(place.path(&[of]));
        place.push(
            self,
            Kind::Method,
            &[of, &name],
            line_of(&signature.ident),
            documentation(attributes),
            Some(names_in(signature)),
        );
    }

    /// An exported macro, and what is in the braces of `pin_project!`, which are items.
    fn macros(&mut self, item: &syn::ItemMacro, place: &Place<'_>) {
        if item.mac.path.is_ident("pin_project") {
            if let Ok(file) = syn::parse2::<syn::File>(item.mac.tokens.clone()) {
                self.items(&file.items, place);
            }
            return;
        }
        let is_exported = item
            .attrs
            .iter()
            .any(|attribute| attribute.path().is_ident("macro_export"));
        if let Some(name) = item
            .ident
            .as_ref()
            .filter(|_| is_exported && !is_hidden(&item.attrs))
        {
            // It lives at the root, wherever it was written.
            let root = Place {
                file: place.file,
                module: &[],
            };
            let name_text = name.to_string();
            self.public.insert(root.path(&[&name_text]));
            let text = documentation(&item.attrs);
            root.push(self, Kind::Other, &[&name_text], line_of(name), text, None);
        }
    }
}

/// Where an item stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    file: &'a str,
    module: &'a [String],
}

impl Place<'_> {
    fn path(&self, rest: &[&str]) -> Vec<String> {
        let rest = rest.iter().map(|&segment| segment.to_owned());
        self.module.iter().cloned().chain(rest).collect()
    }

    fn push(
        &self,
        items: &mut Items,
        kind: Kind,
        names: &[&str],
        line: usize,
        documentation: String,
        signature: Option<BTreeSet<String>>,
    ) {
        items.found.push(Item {
            file: self.file.to_owned(),
            line,
            kind,
            path: self.path(names),
            self_type: names.first().map(|&name| name.to_owned()),
            documentation,
            signature: signature.unwrap_or_default(),
        });
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Whether `#[doc(hidden)]` is among the attributes.
fn is_hidden(attributes: &[Attribute]) -> bool {
    let says_hidden = |tokens: TokenStream| {
        tokens
            .into_iter()
            .any(|tree| matches!(tree, TokenTree::Ident(word) if word == "hidden"))
    };
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("doc")
            && matches!(&attribute.meta, Meta::List(list) if says_hidden(list.tokens.clone()))
    })
}

/// Whether an attribute says `cfg(test)` or `cfg(all(test, …))`.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    let says_test = |tokens: TokenStream| {
        let is_test = |tree: &TokenTree| matches!(tree, TokenTree::Ident(word) if word == "test");
        let trees: Vec<TokenTree> = tokens.into_iter().collect();
        match &trees[..] {
            [TokenTree::Ident(all), TokenTree::Group(group)] if all == "all" => {
                group.stream().into_iter().any(|tree| is_test(&tree))
            }
            [only] => is_test(only),
            _ => false,
        }
    };
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && matches!(&attribute.meta, Meta::List(list) if says_test(list.tokens.clone()))
    })
}

/// The text of the documentation comments, without the space at the front of a line.
fn documentation(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| {
        let Meta::NameValue(pair) = &attribute.meta else {
            return None;
        };
        match &pair.value {
            Expr::Lit(literal) if pair.path.is_ident("doc") => match &literal.lit {
                Lit::Str(text) => Some(text.value()),
                _ => None,
            },
            _ => None,
        }
    });
    let lines: Vec<String> = lines
        .map(|line| line.strip_prefix(' ').unwrap_or(&line).to_owned())
        .collect();
    lines.join("\n")
}

fn exported_names(tree: &UseTree, names: &mut BTreeSet<String>) {
    match tree {
        UseTree::Path(path) => exported_names(&path.tree, names),
        UseTree::Name(name) => {
            names.insert(name.ident.to_string());
        }
        UseTree::Rename(rename) => {
            names.insert(rename.ident.to_string());
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                exported_names(tree, names);
            }
        }
        UseTree::Glob(_) => {}
    }
}

fn names_in(signature: &syn::Signature) -> BTreeSet<String> {
    let mut names = Names::default();
    names.visit_signature(signature);
    names.0
}

#[derive(Default)]
struct Names(BTreeSet<String>);

impl<'ast> Visit<'ast> for Names {
    fn visit_ident(&mut self, name: &'ast Ident) {
        self.0.insert(name.to_string());
    }
}

fn line_of(name: &Ident) -> usize {
    name.span().start().line
}
