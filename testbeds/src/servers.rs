//! Servers on the real servers, and on the director host itself: nginx, a UDP echo, a TCP greeter, a TCP sink.
//!
//! nginx is a process with its own configuration, port and log; the small ones are threads of this process in the
//! namespace of their host. Each stops when dropped.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::http::HttpConn;
use crate::topology::path_str;
use crate::wait::wait_until;
use crate::{Error, Lab, Netns, Process, Real, Result};

/// The size of the file for download tests.
pub const BIG_FILE: usize = 50 * 1000 * 1000;

/// Bytes of noise that are made at once; every length is a multiple of it.
const CHUNK: usize = 10_000;

/// How long an upload may stand still.
const UPLOAD: Duration = Duration::from_secs(30);

/// How often a waiting server thread looks whether it shall end.
const LOOK: Duration = Duration::from_millis(20);

/// How long a server may take to come up.
const START: Duration = Duration::from_secs(10);

/// Starts nginx on each real server, on port 80 (DR and TUN), 8080 (NAT) and 443 (without TLS). `/` answers with the server's name,
/// `/big` with the big file once [`make_big_file`] has written it.
///
/// # Errors
/// When one does not come up; with what it said.
pub fn start_nginx(lab: &Lab) -> Result<Vec<Process>> {
    lab.reals.iter().map(|real| nginx(lab, real)).collect()
}

/// Starts nginx on one real server.
///
/// # Errors
/// When it does not come up; with what it said.
pub fn nginx(lab: &Lab, real: &Real) -> Result<Process> {
    let name = &real.name;
    let directory = lab.file(&format!("nginx-{name}"));
    fs::create_dir_all(&directory).map_err(Error::about(directory.display()))?;
    let config = directory.join("nginx.conf");
    let root = files(lab)?;
    fs::write(&config, nginx_config(name, path_str(&directory)?, path_str(&root)?))
        .map_err(Error::about(config.display()))?;
    let log = directory.join("error.log");
    let command = ["nginx", "-e", "stderr", "-p", path_str(&directory)?, "-c", path_str(&config)?];
    let mut process = real.netns.spawn(&command, &log)?;
    let up = wait_until(&format!("nginx on {name}"), START, || {
        process.ended().is_some() || HttpConn::open(&real.netns, real.at(80)).is_ok()
    });
    if up.is_err() || process.ended().is_some() {
        return Err(Error::new(format!("nginx on {name}: did not come up: {}", process.log().trim())));
    }
    Ok(process)
}

fn nginx_config(name: &str, directory: &str, root: &str) -> String {
    let mut paths = String::new();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        // Writing to a String cannot fail.
        let _ = writeln!(paths, "    {kind}_temp_path {directory}/{kind};");
    }
    format!(
        "daemon off; master_process off; worker_processes 1; user root; pid {directory}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off; sendfile on; default_type text/plain;
    keepalive_requests 100000000; keepalive_timeout 1h;
{paths}    server {{
        listen [::]:80 ipv6only=off backlog=4096; listen [::]:443 ipv6only=off backlog=4096; listen [::]:8080 ipv6only=off backlog=4096;
        location = / {{ return 200 \"{name}\\n\"; }}
        location / {{ root {root}; }}
    }}
}}
"
    )
}

/// Starts vsftpd on each real server, on port 21: anonymous, and only to be read from `root`, which belongs to nobody
/// but root and is the same for all. Each greets with its server's name.
///
/// # Errors
/// When one does not come up; with what it said.
pub fn start_ftp(lab: &Lab, root: &Path) -> Result<Vec<Process>> {
    let root = path_str(root)?;
    lab.reals.iter().map(|real| ftp(lab, real, root)).collect()
}

fn ftp(lab: &Lab, real: &Real, root: &str) -> Result<Process> {
    let name = &real.name;
    let directory = lab.file(&format!("vsftpd-{name}"));
    let empty = directory.join("empty");
    fs::create_dir_all(&empty).map_err(Error::about(empty.display()))?;
    let config = directory.join("vsftpd.conf");
    let empty = path_str(&empty)?;
    let text = format!(
        "listen=NO\nlisten_ipv6=YES\nbackground=NO\nanonymous_enable=YES\nno_anon_password=YES\nanon_root={root}\n\
         secure_chroot_dir={empty}\nconnect_from_port_20=YES\nport_enable=YES\npasv_enable=YES\n\
         ftpd_banner={name}\nseccomp_sandbox=NO\nisolate=NO\nisolate_network=NO\n"
    );
    fs::write(&config, text).map_err(Error::about(config.display()))?;
    let mut process = real.netns.spawn(&["/usr/sbin/vsftpd", path_str(&config)?], &directory.join("log"))?;
    let up = wait_until(&format!("vsftpd on {name}"), START, || {
        process.ended().is_some() || HttpConn::open(&real.netns, real.at(21)).is_ok()
    });
    if up.is_err() || process.ended().is_some() {
        return Err(Error::new(format!("vsftpd on {name}: did not come up: {}", process.log().trim())));
    }
    Ok(process)
}

/// Writes the big file, the same for all real servers and in all runs, and returns its path.
///
/// # Errors
/// When the disk is full.
pub fn make_big_file(lab: &Lab) -> Result<PathBuf> {
    let path = files(lab)?.join("big");
    write_noise(&path).map_err(Error::about(path.display()))?;
    Ok(path)
}

fn write_noise(path: &PathBuf) -> io::Result<()> {
    let mut file = File::create(path)?;
    noise().take(BIG_FILE / CHUNK).try_for_each(|chunk| file.write_all(&chunk))
}

/// Bytes without a pattern that a misplaced or repeated segment could hide in (xorshift64), always the same.
fn noise() -> impl Iterator<Item = Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut number = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(move || (0..CHUNK / 8).flat_map(|_| number()).collect())
}

fn files(lab: &Lab) -> Result<PathBuf> {
    let root = lab.file("files");
    fs::create_dir_all(&root).map_err(Error::about(root.display()))?;
    Ok(root)
}

/// A server that runs on a thread of this process. Dropping it ends it and closes its socket.
#[derive(Debug)]
pub struct ServerThread {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl ServerThread {
    fn start(netns: &Netns, serve: impl FnOnce(mpsc::Receiver<()>) + Send + 'static) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = netns.thread(move || serve(stopped));
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for ServerThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server shows as failed requests.
            let _ = thread.join();
        }
    }
}

/// Starts a UDP echo at `address`: each datagram comes back with `name` and a blank in front. It is bound to the one
/// address, so that its answers come from the address that was asked.
///
/// # Errors
/// When the address is taken, or not the host's.
pub fn udp_echo(netns: &Netns, name: &str, address: SocketAddr) -> Result<ServerThread> {
    let object = format!("udp echo {name} at {address}");
    let socket = netns.enter(|| UdpSocket::bind(address))?.map_err(Error::about(&object))?;
    socket.set_read_timeout(Some(LOOK)).map_err(Error::about(&object))?;
    let name = name.to_owned();
    Ok(ServerThread::start(netns, move |stopped| {
        let mut buffer = vec![0; 65536];
        while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            let answer = [name.as_bytes(), b" ", &buffer[..length]].concat();
            // A client that is gone is no concern of an echo.
            let _ = socket.send_to(&answer, from);
        }
    }))
}

/// Starts a TCP server at `address` that greets with `name` and a newline and closes.
///
/// # Errors
/// When the address is taken, or not the host's.
pub fn tcp_greeter(netns: &Netns, name: &str, address: SocketAddr) -> Result<ServerThread> {
    let greeting = format!("{name}\n");
    tcp_server(netns, &format!("tcp greeter {name}"), address, move |mut stream| {
        // A client that is gone is no concern of a greeter.
        let _ = stream.write_all(greeting.as_bytes());
    })
}

/// Starts a TCP server at `address` that reads until the client has no more to say, one client after the other, and
/// answers with the [`Digest`] of it.
///
/// # Errors
/// When the address is taken, or not the host's.
pub fn tcp_sink(netns: &Netns, name: &str, address: SocketAddr) -> Result<ServerThread> {
    tcp_server(netns, &format!("tcp sink {name}"), address, |mut stream| {
        let mut digest = Digest::default();
        // Of a client that is gone the digest is wrong, which the client sees.
        let _ = io::copy(&mut stream, &mut digest);
        let _ = stream.write_all(digest.to_string().as_bytes());
    })
}

fn tcp_server(
    netns: &Netns,
    object: &str,
    address: SocketAddr,
    serve: impl Fn(TcpStream) + Send + 'static,
) -> Result<ServerThread> {
    let object = format!("{object} at {address}");
    let listener = netns.enter(|| TcpListener::bind(address))?.map_err(Error::about(&object))?;
    listener.set_nonblocking(true).map_err(Error::about(&object))?;
    Ok(ServerThread::start(netns, move |stopped| {
        while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            while let Ok((stream, _)) = listener.accept() {
                let quiet = stream.set_nonblocking(false).and(stream.set_read_timeout(Some(START)));
                if quiet.is_ok() {
                    serve(stream);
                }
            }
        }
    }))
}

/// How many bytes there were, and a hash of them in their order (FNV-1a).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    length: u64,
    hash: u64,
}

impl Default for Digest {
    fn default() -> Self {
        Self { length: 0, hash: 0xcbf2_9ce4_8422_2325 }
    }
}

impl Write for Digest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:016x}", self.length, self.hash)
    }
}

/// Sends `length` bytes to the [`tcp_sink`] at `target`.
///
/// # Errors
/// When the connection fails, or something else arrived than was sent.
pub fn upload(netns: &Netns, target: SocketAddr, length: usize) -> Result<()> {
    let send = || {
        let mut stream = TcpStream::connect_timeout(&target, START)?;
        stream.set_read_timeout(Some(UPLOAD))?;
        stream.set_write_timeout(Some(UPLOAD))?;
        let mut sent = Digest::default();
        for chunk in noise().take(length / CHUNK) {
            sent.write_all(&chunk)?;
            stream.write_all(&chunk)?;
        }
        stream.shutdown(Shutdown::Write)?;
        let mut received = String::new();
        stream.read_to_string(&mut received)?;
        Ok::<_, io::Error>((sent.to_string(), received))
    };
    let (sent, received) = netns.enter(send)?.map_err(Error::about(format!("upload to {target}")))?;
    if sent == received {
        return Ok(());
    }
    Err(Error::new(format!("upload to {target}: {sent} was sent and {received} arrived")))
}
