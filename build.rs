//! Where DuckDB is a shared library (`DUCKDB_LIB_DIR`, without the feature `bundled`), what is built finds it there at run time, or
//! where `ACEQUIA_RPATH` says: a wheel brings it along, so it is beside the binary there.

fn main() {
    println!("cargo:rerun-if-env-changed=DUCKDB_LIB_DIR");
    println!("cargo:rerun-if-env-changed=ACEQUIA_RPATH");
    println!("cargo:rerun-if-changed=build.rs");
    let bundled = std::env::var_os("CARGO_FEATURE_BUNDLED").is_some();
    let folder = std::env::var("ACEQUIA_RPATH").or_else(|_| std::env::var("DUCKDB_LIB_DIR"));
    if let Ok(folder) = folder
        && !bundled
        && std::env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family == "unix")
    {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
    }
}
