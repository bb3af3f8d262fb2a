//! Owns: where the kernels that a GPU's driver or runtime has compiled, and which of several was the quickest, are kept
//! between runs.
//! Must not know: which device there is.
//! Invariant: it is settled before the first device is made, and once: CubeCL takes no second word.

use cubecl::config::cache::CacheConfig;
use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
use etcetera::BaseStrategy;

/// Keeps both in the user's folder for caches (`$XDG_CACHE_HOME/coconut-lab`), in `default.db`, which anybody may delete. A
/// `cubecl.toml` in the working folder or above may name another place, and settles all else, but not that kernels are kept.
/// Left alone, CubeCL would keep no kernels, and its choices below the `target/` of whatever folder it is called in.
pub(super) fn keep() {
    let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
    config.compilation.cache = true;
    let folder = etcetera::choose_base_strategy().ok().map(|base| base.cache_dir().join("coconut-lab"));
    if let (CacheConfig::Target, Some(folder)) = (&config.environment.path, folder) {
        config.environment.path = CacheConfig::Directory(folder);
    }
    // False where it is settled already: by the device asked for before.
    CubeClRuntimeConfig::try_set(config);
}
