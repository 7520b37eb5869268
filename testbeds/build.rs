//! Builds the decapsulator of the tunnelled real servers (C, for the BPF target) with clang.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    let source = "decap/decap.bpf.c";
    println!("cargo::rerun-if-changed={source}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts"));
    let object = out.join("decap.bpf.o");
    let status = Command::new("clang")
        .args(["-target", "bpf", "-O2", "-g", "-mcpu=v3", "-Wall", "-Werror", "-c", source, "-o"])
        .arg(&object)
        // The headers of the architecture (asm/types.h) live under its triplet on Debian.
        .arg(format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH))
        .status()
        .unwrap_or_else(|e| panic!("clang: cannot be started: {e}: install the package clang"));
    assert!(status.success(), "{source}: clang failed with {status}: see its message above");
}
