//! Owns: the place of the on-disk cache for compiled GPU kernels and autotune results.
//! Must not know: which device is used.
//! Invariant: it is configured once, before the first device: CubeCL does not accept a later change.

use cubecl::config::cache::CacheConfig;
use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
use etcetera::BaseStrategy;

/// Caches kernels and autotune results in `default.db` in the user's cache folder
/// (`$XDG_CACHE_HOME/coconut-lab`). The file may be deleted at any time. A `cubecl.toml` in the working
/// folder or above may set another place and all other options, except that kernels are always cached. By
/// default CubeCL caches no kernels, and autotune results in the `target/` of the working folder.
pub fn configure_kernel_cache() {
    let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
    config.compilation.cache = true;
    let folder = etcetera::choose_base_strategy().ok().map(|base| base.cache_dir().join("coconut-lab"));
    if let (CacheConfig::Target, Some(folder)) = (&config.environment.path, folder) {
        config.environment.path = CacheConfig::Directory(folder);
    }
    // Returns false if an earlier device has already fixed the configuration.
    CubeClRuntimeConfig::try_set(config);
}
