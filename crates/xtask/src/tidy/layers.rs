//! Which module of the library may know which: the one table to change when a module comes.

/// Modules of the same height.
#[derive(Debug)]
struct Layer {
    modules: &'static [&'static str],
    /// Whether they may use each other.
    together: bool,
}

/// All modules of the library but its root, the lowest first. A module uses lower layers only, and its own where that
/// is said.
const LAYERS: &[Layer] = &[
    Layer {
        modules: &[
            "sync", "error", "panic", "id", "time", "context", "cpus", "codec", "blob",
        ],
        together: true,
    },
    Layer {
        modules: &["task"],
        together: false,
    },
    Layer {
        modules: &[
            "wait",
            "as_completed",
            "group",
            "map",
            "executor",
            "stream",
            "progress",
        ],
        together: true,
    },
    // What runs tasks: neither knows of the other.
    Layer {
        modules: &["thread", "process"],
        together: false,
    },
    Layer {
        modules: &["any"],
        together: false,
    },
];

/// Where the library may write `unsafe`: the beginnings of paths below `src/`.
pub(super) const UNSAFE_FILES: &[&str] = &[
    "codec/exact.rs",
    "task/cell.rs",
    "task/cell/",
    "process/ring",
    "process/record",
    "process/sys",
];

/// The modules that may name a word that others may not.
pub(super) const RESERVED_WORDS: &[(&str, &[&str])] = &[
    ("tokio", &["context", "thread"]),
    ("tokio_util", &["task"]),
    ("catch_unwind", &["panic"]),
];

/// A file longer than this is two things.
pub(super) const MAX_LINES: usize = 700;

/// The layer of a module, counted from the lowest.
pub(super) fn layer_of(module: &str) -> Option<usize> {
    LAYERS
        .iter()
        .position(|layer| layer.modules.contains(&module))
}

/// Why the module `from` must not use the module `to`, if it must not.
pub(super) fn objection(from: &str, to: &str) -> Option<String> {
    let (below, above) = (layer_of(from)?, layer_of(to)?);
    if from == to || above < below || (above == below && LAYERS[below].together) {
        None
    } else if above == below {
        Some(format!(
            "`{from}` and `{to}` must not know each other: move what both need to a lower layer"
        ))
    } else {
        Some(format!(
            "`{to}` is above `{from}`: move what is needed down, or turn the call around"
        ))
    }
}
