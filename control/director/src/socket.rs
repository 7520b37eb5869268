//! The file of the control socket: made, taken over when stale, owned, removed.

use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Group, Uid, User, chown};
use sheave_proto::config::{Director, Owner};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often, and how far apart, a socket is tried before it counts as another director's.
const DYING: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// A bound socket whose file is removed with it.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_file(&self.path) {
            tracing::debug!("control socket {}: not removed: {e}", self.path.display());
        }
    }
}

/// Binds the control socket: mode 0660, owner and group as configured. A file that nobody listens on is replaced.
///
/// # Errors
/// One line that names the socket and says what to do.
pub(crate) fn bind(director: &Director) -> Result<(UnixListener, SocketFile), String> {
    let path = &director.socket;
    let failed = |what: &str, e: &dyn std::fmt::Display, remedy: &str| {
        format!("control socket {}: {what}: {e}: {remedy}", path.display())
    };
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent)
        .map_err(|e| failed("its directory cannot be made", &e, "make it, or set socket in [director]"))?;
    // Two directors that start at once must not take each other's fresh socket for a stale one.
    let directory =
        File::open(parent).map_err(|e| failed("its directory cannot be opened", &e, "check its mode"))?;
    let lock = Flock::lock(directory, FlockArg::LockExclusive)
        .map_err(|(_, e)| failed("its directory cannot be locked", &e, "check the file system"))?;
    if stays_alive(path) {
        return Err(format!(
            "control socket {}: another sheaved listens on it: stop that one, or set another socket in [director]",
            path.display()
        ));
    }
    remove_stale(path).map_err(|e| failed("a file is in its place", &e, "remove it"))?;
    let before = umask(Mode::from_bits_truncate(0o117));
    let bound = UnixListener::bind(path);
    umask(before);
    let listener = bound.map_err(|e| failed("cannot be bound", &e, "check the directory's mode"))?;
    let file = SocketFile { path: path.clone() };
    drop(lock);
    let owner = director.socket_owner.as_ref().map(user).transpose()?;
    let group = director.socket_group.as_ref().map(group).transpose()?;
    if owner.is_some() || group.is_some() {
        chown(path, owner, group).map_err(|e| failed("its owner cannot be set", &e, "run as root"))?;
    }
    listener.set_nonblocking(true).map_err(|e| failed("cannot be used", &e, "this is a bug"))?;
    Ok((listener, file))
}

/// Whether somebody listens, and goes on to. One that was just killed still takes connections while the kernel clears
/// its memory away.
fn stays_alive(path: &Path) -> bool {
    (0..DYING).all(|_| {
        let alive = is_alive(path);
        if alive {
            pause();
        }
        alive
    })
}

#[expect(clippy::disallowed_methods, reason = "nothing tells when a process that was killed is gone")]
fn pause() {
    std::thread::sleep(PAUSE);
}

fn is_alive(path: &Path) -> bool {
    match UnixStream::connect(path) {
        Ok(_) => true,
        // A director that is too busy to take us is alive all the same.
        Err(e) => e.kind() == ErrorKind::WouldBlock,
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
        Ok(meta) if meta.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => Err(io::Error::new(ErrorKind::AlreadyExists, "it is not a socket")),
    }
}

fn user(owner: &Owner) -> Result<Uid, String> {
    match owner {
        Owner::Id(id) => Ok(Uid::from_raw(*id)),
        Owner::Name(name) => match User::from_name(name) {
            Ok(Some(user)) => Ok(user.uid),
            _ => Err(format!("director: socket-owner: there is no user {name}: name one that exists")),
        },
    }
}

fn group(owner: &Owner) -> Result<Gid, String> {
    match owner {
        Owner::Id(id) => Ok(Gid::from_raw(*id)),
        Owner::Name(name) => match Group::from_name(name) {
            Ok(Some(group)) => Ok(group.gid),
            _ => Err(format!("director: socket-group: there is no group {name}: name one that exists")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn director(name: &str) -> Director {
        let dir = std::env::temp_dir().join(format!("sheaved-socket-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Director { socket: dir.join("deep").join("control.sock"), ..Director::default() }
    }

    #[test]
    fn the_socket_is_made_with_its_directory_and_removed_at_the_end() {
        let director = director("made");
        let (_listener, file) = bind(&director).expect("bound");
        let mode = fs::metadata(&director.socket).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let second = bind(&director).unwrap_err();
        assert!(second.contains("another sheaved listens on it"), "{second}");
        drop(file);
        assert!(!director.socket.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_file_is_not() {
        let director = director("stale");
        let (listener, file) = bind(&director).expect("bound");
        drop(listener);
        std::mem::forget(file);
        assert!(director.socket.exists());
        let (_listener, file) = bind(&director).expect("a stale one is no obstacle");
        drop(file);
        fs::write(&director.socket, "precious").expect("writable");
        let refused = bind(&director).unwrap_err();
        assert!(refused.contains("it is not a socket: remove it"), "{refused}");
        assert_eq!(fs::read_to_string(&director.socket).expect("untouched"), "precious");
    }

    #[test]
    fn a_director_that_is_dying_is_waited_for() {
        let director = director("dying");
        let (listener, file) = bind(&director).expect("bound");
        std::mem::forget(file);
        listener.set_nonblocking(false).expect("a flag");
        let dying = std::thread::spawn(move || {
            listener.accept().expect("somebody looks whether it is alive");
        });
        let (_listener, file) = bind(&director).expect("it is gone by now");
        dying.join().expect("ended");
        drop(file);
    }

    #[test]
    fn an_owner_that_does_not_exist_is_named() {
        let director =
            Director { socket_group: Some(Owner::Name("no-such-group".into())), ..director("owner") };
        let refused = bind(&director).unwrap_err();
        assert_eq!(refused, "director: socket-group: there is no group no-such-group: name one that exists");
        assert!(!director.socket.exists());
    }
}
