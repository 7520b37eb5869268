//! Compiles the BPF programs with clang. It needs Debian's `clang` and `linux-libc-dev`, nothing else.

use std::path::PathBuf;
use std::process::{Command, exit};

const SOURCES: [&str; 3] = ["src/steering/steering.bpf.c", "src/lab/generator.bpf.c", "src/lab/sink.bpf.c"];
/// Of the steering program.
const HEADERS: [&str; 5] = ["bpf.h", "flood.h", "maps.h", "ours.h", "packet.h"];

fn main() {
    for header in HEADERS {
        println!("cargo::rerun-if-changed=src/steering/{header}");
    }
    println!("cargo::rerun-if-env-changed=CLANG");
    SOURCES.into_iter().for_each(compile);
}

/// Compiles `DIR/NAME.bpf.c` to `NAME.bpf.o` where `include_bytes` looks for it.
fn compile(source: &str) {
    println!("cargo::rerun-if-changed={source}");
    let Some(out) = std::env::var_os("OUT_DIR") else {
        fail("OUT_DIR is not set: build with cargo");
    };
    let object =
        PathBuf::from(out).join(PathBuf::from(source).with_extension("o").file_name().unwrap_or_default());
    let clang = std::env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    let mut command = Command::new(&clang);
    command.args(["-target", "bpf", "-O2", "-g", "-mcpu=v3", "-Wall", "-Wextra", "-Werror", "-fno-ident"]);
    // The multiarch headers (asm/types.h) are not on the search path of the bpf target.
    if let Some(arch) = std::env::var_os("CARGO_CFG_TARGET_ARCH") {
        let dir = PathBuf::from("/usr/include").join(format!("{}-linux-gnu", arch.to_string_lossy()));
        command.arg("-idirafter").arg(dir);
    }
    command.args(["-c", source, "-o"]).arg(&object);
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!(
            "{source}: clang failed ({status}): see its messages above; it needs the Debian packages `clang` \
             (14 or newer) and `linux-libc-dev`"
        )),
        Err(error) => fail(&format!(
            "{}: cannot be run ({error}): install the Debian package `clang`, or name another one in CLANG",
            clang.to_string_lossy()
        )),
    }
}

fn fail(message: &str) -> ! {
    eprintln!("error: {message}");
    exit(1)
}
