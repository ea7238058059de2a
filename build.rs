//! Where DuckDB is a shared library (`DUCKDB_LIB_DIR`, without the feature `bundled`), what is built finds it there at run time.

fn main() {
    println!("cargo:rerun-if-env-changed=DUCKDB_LIB_DIR");
    println!("cargo:rerun-if-changed=build.rs");
    let bundled = std::env::var_os("CARGO_FEATURE_BUNDLED").is_some();
    if let Ok(folder) = std::env::var("DUCKDB_LIB_DIR")
        && !bundled
        && std::env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family == "unix")
    {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
    }
}
