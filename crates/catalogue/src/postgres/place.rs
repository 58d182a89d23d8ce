//! Where the server is: the URL, the environment variables and the password file that `psql` knows too.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use postgres::config::{Host, SslMode};
use postgres::{Client, Config, NoTls};

use super::tls::{self, Trust};
use crate::Error;

/// Where Debian's and most other servers listen when no host is named.
const SOCKET_FOLDER: &str = "/var/run/postgresql";
/// An unreachable host is given up after this time, unless `PGCONNECT_TIMEOUT` says otherwise.
const CONNECT: Duration = Duration::from_secs(10);

/// A server that does not answer at all is taken for gone after this time: half a lease, so that a worker knows before others take its chunks.
const SILENCE: Duration = Duration::from_secs(30);

/// A server and a database in it.
#[derive(Clone)]
pub(super) struct Place {
    config: Config,
    trust: Option<Trust>,
    root_certificates: Option<PathBuf>,
    shown: String,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// The environment of the process, or of a test.
pub(super) type Environment<'e> = dyn Fn(&str) -> Option<String> + 'e;

impl Place {
    /// The place that a URL names, with the environment for all that it leaves open.
    pub(super) fn of(url: &str) -> Result<Self, Error> {
        let variable = |name: &str| std::env::var(name).ok();
        let passwords = password_file(&variable);
        Self::from_parts(url, &variable, passwords.as_deref())
    }

    /// As [`Place::of`], from the text of a password file.
    pub(super) fn from_parts(
        url: &str,
        variable: &Environment<'_>,
        passwords: Option<&str>,
    ) -> Result<Self, Error> {
        let (url, mode, certificates) = take_tls_options(url);
        let mut config = Config::from_str(&url).map_err(|error| wrong(error.to_string()))?;
        fill(&mut config, variable)?;
        if config.get_password().is_none()
            && let Some(password) = passwords.and_then(|text| find_password(text, &config))
        {
            config.password(password);
        }
        let mode = mode.or_else(|| variable("PGSSLMODE"));
        let certificates = certificates
            .or_else(|| variable("PGSSLROOTCERT"))
            .map(PathBuf::from);
        let trust = set_tls(&mut config, mode.as_deref(), certificates.is_some())?;
        let shown = shown(&config);
        Ok(Self {
            config,
            trust,
            root_certificates: certificates,
            shown,
        })
    }

    /// Connects. The library's timeout ends when the system has accepted; a server that is frozen accepts and says nothing, so that here it counts until the server has
    /// answered, for each host.
    pub(super) fn connect(&self) -> Result<Client, Error> {
        let connector = self
            .trust
            .map(|trust| tls::connector(trust, self.root_certificates.as_deref()))
            .transpose()
            .map_err(|error| self.unreachable(error))?;
        let config = self.config.clone();
        let (sender, answer) = mpsc::channel();
        let connect = move || {
            let client = match connector {
                None => config.connect(NoTls),
                Some(connector) => config.connect(connector),
            };
            // Nobody takes it if it comes too late.
            let _ = sender.send(client);
        };
        thread::Builder::new()
            .spawn(connect)
            .map_err(|error| self.unreachable(error))?;
        let hosts = u32::try_from(self.config.get_hosts().len()).unwrap_or(u32::MAX);
        let limit = self.config.get_connect_timeout().copied().unwrap_or(CONNECT);
        match answer.recv_timeout(limit.saturating_mul(hosts.max(1))) {
            Ok(client) => client.map_err(|error| self.unreachable(error)),
            Err(_) => Err(self.unreachable("the server does not answer")),
        }
    }

    /// The error that says that nothing can be done here.
    pub(super) fn unreachable(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Unreachable {
            place: self.shown.clone(),
            source: source.into(),
        }
    }

    /// The place without secrets.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }
}

fn wrong(reason: String) -> Error {
    Error::Unreachable {
        place: "that the URL names".to_owned(),
        source: reason.into(),
    }
}

/// Takes `sslmode` and `sslrootcert` out of a URL: the client library knows less of them than `psql`.
fn take_tls_options(url: &str) -> (String, Option<String>, Option<String>) {
    let Some((head, query)) = url.split_once('?') else {
        return (url.to_owned(), None, None);
    };
    let (mut mode, mut certificates) = (None, None);
    let mut rest = Vec::new();
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("sslmode", value)) => mode = Some(value.to_owned()),
            Some(("sslrootcert", value)) => certificates = Some(value.to_owned()),
            _ => rest.push(pair),
        }
    }
    let url = if rest.is_empty() {
        head.to_owned()
    } else {
        format!("{head}?{}", rest.join("&"))
    };
    (url, mode, certificates)
}

/// Fills what the URL leaves open.
fn fill(config: &mut Config, variable: &Environment<'_>) -> Result<(), Error> {
    if config.get_hosts().is_empty() {
        let hosts = variable("PGHOST").unwrap_or_else(|| SOCKET_FOLDER.to_owned());
        for host in hosts.split(',') {
            config.host(host);
        }
    }
    if config.get_ports().is_empty()
        && let Some(ports) = variable("PGPORT")
    {
        for port in ports.split(',') {
            config.port(port.parse().map_err(|_| wrong(format!("PGPORT is {port}")))?);
        }
    }
    if config.get_user().is_none() {
        let user = variable("PGUSER").or_else(|| variable("USER"));
        config.user(user.as_deref().unwrap_or("postgres"));
    }
    if config.get_dbname().is_none() {
        let name = variable("PGDATABASE").or_else(|| config.get_user().map(str::to_owned));
        config.dbname(name.as_deref().unwrap_or_default());
    }
    if config.get_password().is_none()
        && let Some(password) = variable("PGPASSWORD")
    {
        config.password(password);
    }
    if config.get_connect_timeout().is_none() {
        let seconds = variable("PGCONNECT_TIMEOUT").and_then(|text| text.parse().ok());
        config.connect_timeout(seconds.map_or(CONNECT, Duration::from_secs));
    }
    if config.get_application_name().is_none() {
        config.application_name(variable("PGAPPNAME").as_deref().unwrap_or("ntt"));
    }
    notice_silence(config);
    Ok(())
}

/// Lets the system ask a silent server whether it is there, unless the URL says how: without that, a link that broke would be waited for for hours.
fn notice_silence(config: &mut Config) {
    let unset = Config::new();
    if config.get_keepalives_idle() == unset.get_keepalives_idle() {
        config.keepalives_idle(SILENCE / 3);
        config.keepalives_interval(SILENCE / 6);
        config.keepalives_retries(4);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(SILENCE);
    }
}

/// Sets whether to encrypt, and tells whom to believe. The modes are those of libpq.
fn set_tls(config: &mut Config, mode: Option<&str>, has_certificates: bool) -> Result<Option<Trust>, Error> {
    let (mode, trust) = match mode.unwrap_or("prefer") {
        "disable" | "allow" => (SslMode::Disable, None),
        "prefer" => (SslMode::Prefer, Some(Trust::Anyone)),
        "require" if has_certificates => (SslMode::Require, Some(Trust::Authority)),
        "require" => (SslMode::Require, Some(Trust::Anyone)),
        "verify-ca" => (SslMode::Require, Some(Trust::Authority)),
        "verify-full" => (SslMode::Require, Some(Trust::Host)),
        other => return Err(wrong(format!("there is no sslmode {other}"))),
    };
    config.ssl_mode(mode);
    Ok(trust)
}

fn shown(config: &Config) -> String {
    let user = config.get_user().unwrap_or_default();
    let database = config.get_dbname().unwrap_or_default();
    let host = config.get_hosts().first().map_or_else(String::new, host_text);
    match config.get_ports().first() {
        Some(port) => format!("postgres://{user}@{host}:{port}/{database}"),
        None => format!("postgres://{user}@{host}/{database}"),
    }
}

fn host_text(host: &Host) -> String {
    match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    }
}

/// The text of the password file, if only its owner can read it, as `psql` demands.
fn password_file(variable: &Environment<'_>) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let path = variable("PGPASSFILE")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".pgpass")))?;
    let mode = std::fs::metadata(&path).ok()?.permissions().mode();
    if mode & 0o077 != 0 {
        return None;
    }
    std::fs::read_to_string(path).ok()
}

/// The first line whose host, port, database and user match.
fn find_password(text: &str, config: &Config) -> Option<String> {
    let host = config
        .get_hosts()
        .first()
        .map_or_else(String::new, |host| match host {
            Host::Unix(path) if path == Path::new(SOCKET_FOLDER) => "localhost".to_owned(),
            other => host_text(other),
        });
    let port = config.get_ports().first().copied().unwrap_or(5432).to_string();
    let wanted = [
        host.as_str(),
        port.as_str(),
        config.get_dbname().unwrap_or_default(),
        config.get_user().unwrap_or_default(),
    ];
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .find_map(|line| {
            let fields = fields(line);
            let [keys @ .., password] = fields.as_slice() else {
                return None;
            };
            let matches = keys.len() == wanted.len()
                && keys
                    .iter()
                    .zip(wanted)
                    .all(|(key, wanted)| key == "*" || key == wanted);
            matches.then(|| password.clone())
        })
}

/// The fields of a line, between colons; a backslash takes the next character as it is.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ':' => fields.push(String::new()),
            letter => {
                let letter = if letter == '\\' {
                    letters.next().unwrap_or('\\')
                } else {
                    letter
                };
                if let Some(last) = fields.last_mut() {
                    last.push(letter);
                }
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn the_environment_fills_what_the_url_leaves_open() {
        let variable = |name: &str| match name {
            "PGHOST" => Some("db.example".to_owned()),
            "PGPORT" => Some("6000".to_owned()),
            "PGUSER" => Some("archivist".to_owned()),
            "PGDATABASE" => Some("media".to_owned()),
            _ => None,
        };
        let place = Place::from_parts("postgres://", &variable, None).unwrap();
        assert_eq!(place.shown(), "postgres://archivist@db.example:6000/media");
        let place = Place::from_parts("postgres://me:secret@here:1/there", &variable, None).unwrap();
        assert_eq!(place.shown(), "postgres://me@here:1/there", "no secret is shown");
    }

    #[test]
    fn a_socket_folder_may_stand_in_the_url() {
        let place = Place::from_parts("postgres:///media?host=/run/x&user=me", &nothing, None).unwrap();
        assert_eq!(place.shown(), "postgres://me@/run/x/media");
    }

    #[test]
    fn r39_a_link_that_broke_is_noticed_before_the_lease_ends() {
        let silence = |url: &str| {
            let config = Place::from_parts(url, &nothing, None).unwrap().config;
            let probes = config.get_keepalives_interval().unwrap() * config.get_keepalives_retries().unwrap();
            (
                config.get_keepalives_idle() + probes,
                config.get_tcp_user_timeout().copied().unwrap(),
            )
        };
        assert_eq!(silence("postgres://me@here/db"), (SILENCE, SILENCE));
        let lease = Duration::from_nanos(crate::lease::LEASE_NANOS.cast_unsigned());
        assert!(SILENCE < lease);
        let own = "postgres://me@here/db?keepalives_idle=300&keepalives_interval=60&keepalives_retries=2&tcp_user_timeout=9";
        assert_eq!(silence(own), (Duration::from_secs(420), Duration::from_secs(9)));
    }

    /// R39: a server that is frozen takes connections and never answers.
    #[test]
    fn r39_a_server_that_accepts_and_says_nothing_is_given_up() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let url = format!("postgres://me@127.0.0.1:{port}/db?connect_timeout=1");
        let place = Place::from_parts(&url, &nothing, None).unwrap();
        let told = place.connect().map(drop).unwrap_err();
        assert!(matches!(told, Error::Unreachable { .. }), "{told}");
        let source = std::error::Error::source(&told).unwrap().to_string();
        assert_eq!(source, "the server does not answer");
    }

    #[test]
    fn the_password_file_is_read_like_psql_does() {
        let file = "# passwords\nother:*:*:*:no\nhere:5432:media:me:a\\:b\\\\c\n*:*:*:*:any\n";
        let password = |url: &str| {
            let place = Place::from_parts(url, &nothing, Some(file)).unwrap();
            place
                .config
                .get_password()
                .map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
        };
        assert_eq!(password("postgres://me@here/media").as_deref(), Some("a:b\\c"));
        assert_eq!(password("postgres://you@here/media").as_deref(), Some("any"));
        assert_eq!(password("postgres://me:own@here/media").as_deref(), Some("own"));
    }

    #[test]
    fn tls_modes_are_those_of_libpq() {
        let trust = |mode: &str| {
            let url = format!("postgres://me@here/db?sslmode={mode}&sslrootcert=/ca.pem");
            let place = Place::from_parts(&url, &nothing, None).unwrap();
            (place.config.get_ssl_mode(), place.trust)
        };
        assert_eq!(trust("disable"), (SslMode::Disable, None));
        assert_eq!(trust("prefer"), (SslMode::Prefer, Some(Trust::Anyone)));
        assert_eq!(trust("require"), (SslMode::Require, Some(Trust::Authority)));
        assert_eq!(trust("verify-full"), (SslMode::Require, Some(Trust::Host)));
        assert!(Place::from_parts("postgres://me@here/db?sslmode=maybe", &nothing, None).is_err());
    }
}
