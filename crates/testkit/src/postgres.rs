//! A throw-away PostgreSQL server: from the installed binaries, on a socket in a temporary folder, never as root.
//!
//! `initdb` runs once per version; its result is kept below `target/tmp` and copied for every server. Nothing that a test writes is synced.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::partition::Partition;

/// The usual port, after which a socket is named.
const PORT: &str = "5432";
/// Where Debian has the pooler.
const POOLER: &str = "/usr/sbin/pgbouncer";
/// Where Debian keeps one folder per version.
const DEBIAN_VERSIONS: &str = "/usr/lib/postgresql";
/// The user `nobody`: the server refuses to run as root.
const NOBODY: u32 = 65534;
/// A server that is not ready by then has failed; starting takes a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ticks of a second in `/proc`: 100 on all platforms that Linux has today (proc_pid_stat(5)).
const USER_HZ: u64 = 100;
/// What makes a server fast, small and private.
const SETTINGS: [&str; 10] = [
    "listen_addresses=",
    "unix_socket_permissions=0777",
    "fsync=off",
    "full_page_writes=off",
    "shared_buffers=64MB",
    "max_wal_size=256MB",
    "max_connections=60",
    "log_min_messages=warning",
    "lc_messages=C",
    "autovacuum_naptime=5s",
];

/// A running server. It is stopped and removed when this is dropped.
#[derive(Debug)]
pub struct PostgresServer {
    folder: TempDir,
    binaries: PathBuf,
    child: Child,
    settings: Vec<String>,
    port: String,
}

impl PostgresServer {
    /// Starts a server, or says on stderr that the test is skipped because none is installed.
    ///
    /// # Panics
    ///
    /// If binaries are there and the server does not start.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// As [`PostgresServer::start`], with further settings (`name=value`).
    ///
    /// # Panics
    ///
    /// As [`PostgresServer::start`].
    #[allow(clippy::print_stderr, reason = "a skipped test must say so")]
    pub fn start_with(settings: &[&str]) -> Option<Self> {
        let Some(binaries) = binaries() else {
            eprintln!("skipped: no PostgreSQL server is installed (Debian: apt-get install postgresql)");
            return None;
        };
        let started = Self::start_from(binaries, settings);
        Some(started.unwrap_or_else(|error| panic!("starting PostgreSQL: {error}")))
    }

    fn start_from(binaries: PathBuf, settings: &[&str]) -> io::Result<Self> {
        let template = template(&binaries)?;
        let folder = private_folder()?;
        copy(&template, &folder.path().join("data"))?;
        let settings = SETTINGS
            .iter()
            .chain(settings)
            .map(|setting| (*setting).to_owned())
            .collect::<Vec<String>>();
        let port = settings.iter().find_map(|setting| setting.strip_prefix("port="));
        let port = port.unwrap_or(PORT).to_owned();
        let child = spawn(&binaries, folder.path(), &settings)?;
        let mut server = Self {
            folder,
            binaries,
            child,
            settings,
            port,
        };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// The URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("{}&port={}", url(self.folder.path(), database), self.port)
    }

    /// A pooler before the server, which gives every transaction whichever of few connections is free; or says on stderr that the test is skipped
    /// because none is installed.
    ///
    /// # Panics
    ///
    /// If it is there and does not start.
    #[allow(clippy::print_stderr, reason = "a skipped test must say so")]
    pub fn pooler(&self) -> Option<Pooler> {
        if !Path::new(POOLER).is_file() {
            eprintln!("skipped: no pooler is installed (Debian: apt-get install pgbouncer)");
            return None;
        }
        let started = Pooler::start(self.folder.path());
        Some(started.unwrap_or_else(|error| panic!("starting pgbouncer: {error}")))
    }

    /// Has the server encrypt with this certificate from now on: files in PEM, which are copied.
    ///
    /// # Panics
    ///
    /// If the files cannot be copied.
    pub fn encrypt(&self, certificate: &Path, key: &Path) {
        for (from, name) in [(certificate, "server.crt"), (key, "server.key")] {
            let to = self.folder.path().join("data").join(name);
            let copied = fs::copy(from, &to).and_then(|_| own(&to, 0o600));
            copied.unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        }
        self.psql("postgres", "ALTER SYSTEM SET ssl = on");
        self.psql("postgres", "SELECT pg_reload_conf()");
        let begun = Instant::now();
        while self.psql("postgres", "SHOW ssl") != "on" {
            assert!(begun.elapsed() < PATIENCE, "the server does not encrypt");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A way to the server that can be cut.
    ///
    /// # Panics
    ///
    /// If no socket can be made.
    pub fn partition(&self) -> Partition {
        let socket = self.folder.path().join(format!(".s.PGSQL.{}", self.port));
        let way = Partition::before(&socket);
        way.unwrap_or_else(|error| panic!("a socket: {error}"))
    }

    /// The folder of the server, which belongs to the user as whom it runs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Creates a database, as a copy of `template` if one is given, and returns its URL.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub fn create_database(&self, name: &str, template: Option<&str>) -> String {
        let sql = match template {
            Some(template) => format!("CREATE DATABASE \"{name}\" TEMPLATE \"{template}\""),
            None => format!("CREATE DATABASE \"{name}\""),
        };
        self.psql("postgres", &sql);
        self.url(name)
    }

    /// Runs SQL and returns what `psql` prints, unaligned and without headers.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let output = Command::new(self.binaries.join("psql"))
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "postgres",
                "-d",
                database,
                "-c",
                sql,
            ])
            .arg("-h")
            .arg(self.folder.path())
            .args(["-p", &self.port])
            .output();
        let output = output.unwrap_or_else(|error| panic!("psql: {error}"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "psql: {sql}: {errors}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// User and system time of all processes of the server, those that have ended included.
    ///
    /// # Errors
    ///
    /// If the system does not tell.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        let main = self.child.id();
        let mut ticks = 0;
        for entry in fs::read_dir("/proc")?.flatten() {
            // Processes come and go; those without a readable line have gone.
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let Some((head, fields)) = stat.rsplit_once(')') else {
                continue;
            };
            let number = |index: usize| -> u64 {
                let field = fields.split_whitespace().nth(index);
                field.and_then(|field| field.parse().ok()).unwrap_or(0)
            };
            let pid = head.split(' ').next().and_then(|pid| pid.parse::<u32>().ok());
            if pid == Some(main) {
                ticks += (11..15).map(number).sum::<u64>();
            } else if number(1) == u64::from(main) {
                ticks += number(11) + number(12);
            }
        }
        Ok(Duration::from_millis(ticks * 1000 / USER_HZ))
    }

    /// Kills the server as the end of its process would, and its processes with it.
    pub fn kill_9(&mut self) {
        signal(&self.child, Signal::KILL);
        // Its processes notice that it is gone by themselves.
        let _ = self.child.wait();
    }

    /// Starts the server again; it recovers what was committed.
    ///
    /// # Errors
    ///
    /// If it does not become ready.
    pub fn restart(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            self.child = spawn(&self.binaries, self.folder.path(), &self.settings)?;
            match self.wait_until_ready() {
                Ok(()) => return Ok(()),
                // The processes of the one before may still be ending.
                Err(_) if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(50)),
                Err(error) => return Err(error),
            }
        }
    }

    fn wait_until_ready(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        let status = self.folder.path().join("data/postmaster.pid");
        let own = self.child.id().to_string();
        while begun.elapsed() < PATIENCE {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let is_own = text.lines().next() == Some(own.as_str());
            if is_own && text.lines().any(|line| line.trim() == "ready") {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                return Err(io::Error::other(format!("the server ended ({status}): {log}")));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(io::Error::other("the server does not become ready"))
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        signal(&self.child, Signal::QUIT);
        // The folder goes in any case.
        let _ = self.child.wait();
    }
}

/// A running pooler. It is stopped and removed when this is dropped.
#[derive(Debug)]
pub struct Pooler {
    folder: TempDir,
    child: Child,
}

impl Pooler {
    fn start(server: &Path) -> io::Result<Self> {
        let folder = private_folder()?;
        let settings = folder.path().join("settings.ini");
        let text = format!(
            "[databases]\n* = host={} port={PORT} user=postgres\n[pgbouncer]\nunix_socket_dir = {}\nlisten_port = {PORT}\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = 3\n",
            server.display(),
            folder.path().display()
        );
        fs::write(&settings, text)?;
        own(&settings, 0o644)?;
        let child = command(Path::new(POOLER))
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut pooler = Self { folder, child };
        let (begun, socket) = (
            Instant::now(),
            pooler.folder.path().join(format!(".s.PGSQL.{PORT}")),
        );
        while !socket.exists() {
            let ended = pooler.child.try_wait()?;
            if ended.is_some() || begun.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("it does not listen ({ended:?})")));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(pooler)
    }

    /// The URL of a database behind it.
    pub fn url(&self, database: &str) -> String {
        url(self.folder.path(), database)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        signal(&self.child, Signal::KILL);
        // The folder goes in any case.
        let _ = self.child.wait();
    }
}

/// Gives a file to the user as whom the server runs.
fn own(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY))?;
    }
    Ok(())
}

/// The URL of a database behind the socket in a folder.
pub fn url(folder: &Path, database: &str) -> String {
    format!("postgres:///{database}?host={}&user=postgres", folder.display())
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // One that has ended already needs none.
        let _ = kill_process(pid, signal);
    }
}

/// The folder of the newest installed server.
fn binaries() -> Option<PathBuf> {
    let versions = fs::read_dir(DEBIAN_VERSIONS).ok()?;
    let mut found: Vec<(u32, PathBuf)> = versions
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, folder)| folder.join("initdb").is_file() && folder.join("postgres").is_file())
        .collect();
    found.sort();
    found.pop().map(|(_, folder)| folder)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A temporary folder of the user as whom the server runs.
fn private_folder() -> io::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("ntt-postgres-").tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    if is_root() {
        chown(folder.path(), Some(NOBODY), Some(NOBODY))?;
    }
    Ok(folder)
}

/// A command that does not run as root.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LC_ALL", "C")
        .current_dir("/");
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn spawn(binaries: &Path, folder: &Path, settings: &Vec<String>) -> io::Result<Child> {
    let log = File::create(folder.join("log"))?;
    let mut command = command(&binaries.join("postgres"));
    command.arg("-D").arg(folder.join("data")).arg("-k").arg(folder);
    for setting in settings {
        command.arg("-c").arg(setting);
    }
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
}

/// A fresh cluster, made by the first test that needs one.
fn template(binaries: &Path) -> io::Result<PathBuf> {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
    };
    let cache = target.join("tmp");
    fs::create_dir_all(&cache)?;
    let version = binaries.parent().and_then(Path::file_name).unwrap_or_default();
    let owner = if is_root() {
        NOBODY
    } else {
        rustix::process::geteuid().as_raw()
    };
    let template = cache.join(format!("postgres-{}-{owner}", version.to_string_lossy()));
    let lock = File::create(template.with_extension("lock"))?;
    lock.lock()?;
    if !template.is_dir() {
        let folder = private_folder()?;
        let data = folder.path().join("data");
        let mut initdb = command(&binaries.join("initdb"));
        initdb.args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
            "--wal-segsize=1",
        ]);
        run(initdb.arg("-D").arg(&data))?;
        let unfinished = template.with_extension("new");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        copy(&data, &unfinished)?;
        fs::rename(&unfinished, &template)?;
    }
    Ok(template)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    run(Command::new("cp")
        .args(["-a", "--reflink=auto"])
        .arg(from)
        .arg(to))
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(format!(
        "{}: {errors}",
        command.get_program().display()
    )))
}
