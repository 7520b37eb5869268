//! Compiles the steering program with clang. It needs Debian's `clang` and `linux-libc-dev`, nothing else.

use std::path::PathBuf;
use std::process::{Command, exit};

const SOURCE: &str = "src/steering/steering.bpf.c";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=CLANG");
    let Some(out) = std::env::var_os("OUT_DIR") else {
        fail("OUT_DIR is not set: build with cargo");
    };
    let object = PathBuf::from(out).join("steering.bpf.o");
    let clang = std::env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    let mut command = Command::new(&clang);
    command.args(["-target", "bpf", "-O2", "-g", "-mcpu=v3", "-Wall", "-Wextra", "-Werror", "-fno-ident"]);
    // The multiarch headers (asm/types.h) are not on the search path of the bpf target.
    if let Some(arch) = std::env::var_os("CARGO_CFG_TARGET_ARCH") {
        let dir = PathBuf::from("/usr/include").join(format!("{}-linux-gnu", arch.to_string_lossy()));
        command.arg("-idirafter").arg(dir);
    }
    command.args(["-c", SOURCE, "-o"]).arg(&object);
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!(
            "{SOURCE}: clang failed ({status}): see its messages above; it needs the Debian packages `clang` \
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
