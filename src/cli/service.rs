//! `litecached service`: the units for people without the package, and a look at the service.
//!
//! What is to be done is a list of steps, made by looking and not by doing, so that `--dry-run` prints
//! exactly what would happen. Doing it again changes nothing. Files of the package are the package's:
//! where it is installed, only what an operator would change is changed, and what hides them is removed.

mod status;

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::cli::{Exit, Failure, file, print};

/// What the package installs, and what is installed without it.
const SERVICE: &str = include_str!("../../systemd/litecached.service");
const SOCKET: &str = include_str!("../../systemd/litecached.socket");
const SOCKETS_ONLY: &str = include_str!("../../systemd/sockets-only.conf");
const SYSUSERS: &str = include_str!("../../systemd/litecached.sysusers");

/// What the package keeps as a configuration file.
const CONFIGURATION: &str = include_str!("../../systemd/litecached.toml");

/// Where the unit says that the program is.
const PACKAGED_PROGRAM: &str = "/usr/bin/litecached";
const OWN_PROGRAM: &str = "/usr/local/bin/litecached";
const PACKAGED_UNITS: [&str; 2] =
    ["/usr/lib/systemd/system/litecached.service", "/lib/systemd/system/litecached.service"];
const OWN_SERVICE: &str = "/etc/systemd/system/litecached.service";
const OWN_SOCKET: &str = "/etc/systemd/system/litecached.socket";
const OWN_CONFIGURATION: &str = "/etc/litecached.toml";
/// Variables for the service, if an operator has written any.
const DEFAULTS: &str = "/etc/default/litecached";
const OWN_SYSUSERS: &str = "/etc/sysusers.d/litecached.conf";
const DROP_INS: &str = "/etc/systemd/system/litecached.service.d";
const DROP_IN: &str = "/etc/systemd/system/litecached.service.d/sockets-only.conf";
const STATE: &str = "/var/lib/litecached";
const RUNTIME: &str = "/run/litecached";
const DATABASE: &str = "/var/lib/litecached/litecached.db";
const UNIT: &str = "litecached.service";
const SOCKET_UNIT: &str = "litecached.socket";

/// Its arguments and its help.
pub(super) fn command() -> Command {
    let switch = |name, help| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let dry_run = || switch("dry-run", "Say what would be done, and do nothing");
    let socket = switch("socket", "Let systemd hold the sockets: a restart refuses no connection");
    let purge = switch("purge", "Delete the configuration and the database too");
    Command::new("service")
        .about("Install, remove or show litecached as a systemd service")
        .after_help(
            "For machines without the package; where the package is, install only chooses who holds the\n\
             sockets. Doing it again changes nothing.",
        )
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommand(
            Command::new("install")
                .about("Install, enable and start the service")
                .args([socket, dry_run()]),
        )
        .subcommand(
            Command::new("uninstall")
                .about("Stop and remove the service; configuration and database stay")
                .args([purge, dry_run()]),
        )
        .subcommand(Command::new("status").about("Show the service").arg(file::json()))
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let here = Here::look()?;
    // Also where an image is made, and no systemd runs yet.
    let only_say = matches!(
        matches.subcommand(),
        Some(("install" | "uninstall", flags)) if flags.get_flag("dry-run")
    );
    if !here.booted && !only_say {
        let what = "systemd does not run this machine; have your service manager run \
                    'litecached serve', or see with --dry-run what would be done";
        return Err(Failure::new(Exit::Unavailable, what));
    }
    match matches.subcommand() {
        Some(("install", flags)) => carry_out(&install(&here, flags.get_flag("socket")), only_say),
        Some(("uninstall", flags)) => {
            carry_out(&uninstall(&here, flags.get_flag("purge"))?, only_say)
        }
        Some((_, flags)) => status::show(&here, flags.get_flag("json")),
        // clap has refused it.
        None => Ok(()),
    }
}

/// What the steps depend on.
#[derive(Debug)]
struct Here {
    /// systemd runs this machine.
    booted: bool,
    /// This program's file.
    program: PathBuf,
    units: Units,
    /// The service is started at boot.
    enabled: bool,
    /// The database's files where an operator has put a link for its folder.
    elsewhere: Vec<PathBuf>,
    /// systemd holds the sockets now.
    socket_active: bool,
}

/// Whose units are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Units {
    None,
    /// What `install` writes without the package.
    Own,
    Package,
    /// Both: our own hides the package's.
    OwnOverPackage,
}

impl Here {
    fn look() -> Result<Self, Failure> {
        let booted = Path::new("/run/systemd/system").is_dir();
        let program = std::env::current_exe().map_err(|error| {
            Failure::new(
                Exit::System,
                format!("cannot tell where this program is: {error}; run it by its path"),
            )
        })?;
        let packaged = PACKAGED_UNITS.iter().any(|unit| Path::new(unit).exists());
        Ok(Self {
            booted,
            program,
            units: match (packaged, is_own(packaged)) {
                (false, false) => Units::None,
                (false, true) => Units::Own,
                (true, false) => Units::Package,
                (true, true) => Units::OwnOverPackage,
            },
            elsewhere: database_behind_link(Path::new(STATE)),
            enabled: booted && systemctl(&["is-enabled", "--quiet", UNIT]).is_ok(),
            socket_active: booted && systemctl(&["is-active", "--quiet", SOCKET_UNIT]).is_ok(),
        })
    }
}

/// Whether the unit in /etc is of `install`. Beside the package it may also be an operator's, by
/// `systemctl edit --full`: that one starts the package's program. A link is a mask.
fn is_own(packaged: bool) -> bool {
    let unit = Path::new(OWN_SERVICE);
    unit.symlink_metadata().is_ok_and(|file| file.is_file())
        && (!packaged
            || fs::read_to_string(unit)
                .is_ok_and(|text| text.contains(&format!("\nExecStart={OWN_PROGRAM} "))))
}

/// The database's files in the folder that a link leads to. What else is there is not ours to delete.
fn database_behind_link(link: &Path) -> Vec<PathBuf> {
    let Ok(folder) = fs::read_link(link).and_then(|_| fs::canonicalize(link)) else {
        return Vec::new();
    };
    let name = Path::new(DATABASE).file_name().unwrap_or_default().as_encoded_bytes();
    let mut files: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|file| file.file_name().as_encoded_bytes().starts_with(name))
        .map(|file| file.path())
        .collect();
    files.sort();
    files
}

/// One thing to do. Doing what is done already changes nothing.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// A file with this text.
    Write {
        path: PathBuf,
        text: String,
    },
    /// The same where there is none yet: an operator's stays.
    Provide {
        path: PathBuf,
        text: &'static str,
    },
    /// This program, where the service may run it.
    Copy {
        from: PathBuf,
        to: PathBuf,
    },
    /// No such file, or folder with all that is in it.
    Remove(PathBuf),
    /// No folder of drop-ins that holds nothing, or nothing but ours.
    RemoveEmpty(PathBuf),
    Run(&'static [&'static str]),
    /// The service runs, with all that has changed.
    Restart,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { path, .. } | Self::Provide { path, .. } => {
                write!(f, "write {}", path.display())
            }
            Self::Copy { from, to } => write!(f, "copy {} to {}", from.display(), to.display()),
            Self::Remove(path) | Self::RemoveEmpty(path) => {
                write!(f, "remove {}", path.display())
            }
            Self::Run(words) => write!(f, "run {}", words.join(" ")),
            Self::Restart => f.write_str("start the service, again if anything has changed"),
        }
    }
}

fn install(here: &Here, socket: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    if here.units == Units::OwnOverPackage {
        steps.extend(give_to_package());
    } else if here.units != Units::Package {
        // A service sees nothing of /home and /root, where a program may have been built.
        let in_place =
            [PACKAGED_PROGRAM, OWN_PROGRAM].map(Path::new).contains(&here.program.as_path());
        let program = if in_place { here.program.clone() } else { OWN_PROGRAM.into() };
        if !in_place {
            steps.push(Step::Copy { from: here.program.clone(), to: program.clone() });
        }
        let service = SERVICE.replace(PACKAGED_PROGRAM, &program.display().to_string());
        steps.push(Step::Write { path: OWN_SYSUSERS.into(), text: SYSUSERS.into() });
        steps.push(Step::Run(&["systemd-sysusers", OWN_SYSUSERS]));
        steps.push(Step::Provide { path: OWN_CONFIGURATION.into(), text: CONFIGURATION });
        steps.push(Step::Write { path: OWN_SERVICE.into(), text: service });
        steps.push(Step::Write { path: OWN_SOCKET.into(), text: SOCKET.into() });
    }
    if socket {
        steps.push(Step::Write { path: DROP_IN.into(), text: SOCKETS_ONLY.into() });
    } else {
        steps.extend([Step::Remove(DROP_IN.into()), Step::RemoveEmpty(DROP_INS.into())]);
    }
    steps.push(Step::Run(&["systemctl", "daemon-reload"]));
    if here.units == Units::OwnOverPackage {
        // The links of boot led to the unit that is gone.
        steps.push(Step::Run(&["systemctl", "reenable", SOCKET_UNIT, UNIT]));
    }
    if socket != here.socket_active {
        // Whoever holds the port now lets it go.
        steps.push(Step::Run(&["systemctl", "stop", SOCKET_UNIT, UNIT]));
    }
    if socket {
        steps.push(Step::Run(&["systemctl", "enable", "--now", SOCKET_UNIT]));
    } else {
        steps.push(Step::Run(&["systemctl", "disable", SOCKET_UNIT]));
    }
    steps.push(Step::Run(&["systemctl", "enable", UNIT]));
    steps.push(Step::Restart);
    steps
}

fn uninstall(here: &Here, purge: bool) -> Result<Vec<Step>, Failure> {
    if here.units == Units::Package {
        let what =
            "the service belongs to the package litecached; remove that: apt remove litecached";
        return Err(Failure::new(Exit::No, what));
    }
    let over_package = here.units == Units::OwnOverPackage;
    if over_package && purge {
        let what = "configuration and database are the package's now; without --purge, what \
                    'service install' wrote is removed, and apt purge litecached deletes the rest";
        return Err(Failure::new(Exit::No, what));
    }
    let mut steps = Vec::new();
    if over_package {
        steps.extend(give_to_package());
        steps.push(Step::Run(&["systemctl", "daemon-reload"]));
        if here.socket_active {
            steps.push(Step::Run(&["systemctl", "reenable", SOCKET_UNIT]));
        }
        if here.enabled {
            steps.push(Step::Run(&["systemctl", "reenable", UNIT]));
        }
        steps.push(Step::Run(&["systemctl", "try-restart", UNIT]));
        return Ok(steps);
    }
    if here.units == Units::Own {
        steps.push(Step::Run(&["systemctl", "disable", "--now", SOCKET_UNIT, UNIT]));
    }
    steps.extend(give_to_package());
    steps.extend([Step::Remove(DROP_IN.into()), Step::RemoveEmpty(DROP_INS.into())]);
    if purge {
        steps.extend(here.elsewhere.iter().cloned().map(Step::Remove));
        steps.extend(
            [OWN_CONFIGURATION, DEFAULTS, STATE, RUNTIME].map(|path| Step::Remove(path.into())),
        );
    }
    steps.push(Step::Run(&["systemctl", "daemon-reload"]));
    Ok(steps)
}

/// What hides files of the package, where it is installed. Who holds the sockets stays chosen.
fn give_to_package() -> impl Iterator<Item = Step> {
    [OWN_SERVICE, OWN_SOCKET, OWN_SYSUSERS, OWN_PROGRAM]
        .into_iter()
        .map(|path| Step::Remove(path.into()))
}

fn carry_out(steps: &[Step], only_say: bool) -> Result<(), Failure> {
    if !only_say && !nix::unistd::geteuid().is_root() {
        let what = "only root may change services; run it with sudo, or see what it would do with --dry-run";
        return Err(Failure::new(Exit::Permission, what));
    }
    let mut changed = false;
    for step in steps.iter().filter(|step| step.makes_a_difference()) {
        changed |= !matches!(step, Step::Run(_) | Step::Restart);
        print(&format!("{}{step}\n", if only_say { "would " } else { "" }))?;
        if !only_say {
            step.carry_out(changed)?;
        }
    }
    Ok(())
}

impl Step {
    /// Whether doing it makes a difference to files. Commands are run each time.
    fn makes_a_difference(&self) -> bool {
        match self {
            Self::Write { path, text } => !fs::read(path).is_ok_and(|now| now == text.as_bytes()),
            Self::Provide { path, .. } => path.symlink_metadata().is_err(),
            Self::Copy { from, to } => match (fs::read(from), fs::read(to)) {
                (Ok(from), Ok(to)) => from != to,
                _ => true,
            },
            Self::Remove(path) => path.symlink_metadata().is_ok(),
            // Before and after ours is removed the answer is the same, so that --dry-run knows it.
            Self::RemoveEmpty(path) => fs::read_dir(path).is_ok_and(|mut files| {
                files.all(|file| file.is_ok_and(|file| file.path() == Path::new(DROP_IN)))
            }),
            Self::Run(_) | Self::Restart => true,
        }
    }

    fn carry_out(&self, changed: bool) -> Result<(), Failure> {
        let done = match self {
            Self::Write { path, text } => replace(path, 0o644, |new| fs::write(new, text)),
            Self::Provide { path, text } => replace(path, 0o644, |new| fs::write(new, text)),
            Self::Copy { from, to } => replace(to, 0o755, |new| fs::copy(from, new).map(drop)),
            Self::Remove(path) if path.is_dir() => fs::remove_dir_all(path),
            Self::Remove(path) => fs::remove_file(path),
            Self::RemoveEmpty(path) => fs::remove_dir(path),
            Self::Run(words) => return call(words).map(drop),
            Self::Restart if changed => return systemctl(&["restart", UNIT]).map(drop),
            Self::Restart => return systemctl(&["start", UNIT]).map(drop),
        };
        done.map_err(|error| {
            Failure::new(
                Exit::CannotCreate,
                format!("cannot {self}: {error}; put that right, and run it again"),
            )
        })
    }
}

/// Makes a file beside its place and puts it there whole: a program that runs may be replaced so.
fn replace(path: &Path, mode: u32, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    make(&new)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(mode))?;
    fs::rename(&new, path)
}

fn systemctl(arguments: &[&'static str]) -> Result<String, Failure> {
    call(&[&["systemctl"], arguments].concat())
}

/// Runs a program that has to succeed, and gives what it said.
fn call(words: &[&str]) -> Result<String, Failure> {
    let refused = |why: &str| {
        let what = format!("{} failed: {why}; see journalctl -u {UNIT}", words.join(" "));
        Failure::new(Exit::System, what)
    };
    let output = Program::new(words[0])
        .args(words[1..].iter().map(OsStr::new))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| refused(&error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(refused(said.lines().next().unwrap_or("it says nothing")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(program: &str, units: Units, socket_active: bool) -> Here {
        let (booted, enabled) = (true, true);
        let program = program.into();
        Here { booted, program, units, enabled, elsewhere: Vec::new(), socket_active }
    }

    fn said(steps: &[Step]) -> Vec<String> {
        steps.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_units_name_what_is_replaced() {
        assert!(SERVICE.contains(&format!("\nExecStart={PACKAGED_PROGRAM} ")));
        assert!(SERVICE.contains(&format!("\nExecReload={PACKAGED_PROGRAM} ")));
        assert_eq!(SERVICE.matches(PACKAGED_PROGRAM).count(), 2);
    }

    #[test]
    fn a_program_from_anywhere_is_copied_and_named() {
        let steps = install(&here("/srv/build/litecached", Units::None, false), false);
        assert_eq!(
            said(&steps),
            [
                "copy /srv/build/litecached to /usr/local/bin/litecached",
                "write /etc/sysusers.d/litecached.conf",
                "run systemd-sysusers /etc/sysusers.d/litecached.conf",
                "write /etc/litecached.toml",
                "write /etc/systemd/system/litecached.service",
                "write /etc/systemd/system/litecached.socket",
                "remove /etc/systemd/system/litecached.service.d/sockets-only.conf",
                "remove /etc/systemd/system/litecached.service.d",
                "run systemctl daemon-reload",
                "run systemctl disable litecached.socket",
                "run systemctl enable litecached.service",
                "start the service, again if anything has changed",
            ]
        );
        let unit = steps.iter().find_map(|step| match step {
            Step::Write { path, text } if path == Path::new(OWN_SERVICE) => Some(text),
            _ => None,
        });
        assert!(unit.is_some_and(|text| text.contains("\nExecStart=/usr/local/bin/litecached ")));
    }

    #[test]
    fn beside_the_package_only_the_sockets_are_chosen() {
        assert_eq!(
            said(&install(&here("/usr/bin/litecached", Units::Package, false), true)),
            [
                "write /etc/systemd/system/litecached.service.d/sockets-only.conf",
                "run systemctl daemon-reload",
                "run systemctl stop litecached.socket litecached.service",
                "run systemctl enable --now litecached.socket",
                "run systemctl enable litecached.service",
                "start the service, again if anything has changed",
            ]
        );
        let refused =
            uninstall(&here("/usr/bin/litecached", Units::Package, false), true).unwrap_err();
        assert!(refused.message.contains("apt remove litecached"), "{refused:?}");
    }

    #[test]
    fn what_hides_the_package_is_removed() {
        let own = here("/usr/local/bin/litecached", Units::OwnOverPackage, false);
        let removed = [
            "remove /etc/systemd/system/litecached.service",
            "remove /etc/systemd/system/litecached.socket",
            "remove /etc/sysusers.d/litecached.conf",
            "remove /usr/local/bin/litecached",
        ];
        assert_eq!(said(&install(&own, false))[..4], removed);
        let steps = said(&uninstall(&own, false).unwrap());
        assert_eq!(steps[..4], removed);
        assert_eq!(
            steps[4..],
            [
                "run systemctl daemon-reload",
                "run systemctl reenable litecached.service",
                "run systemctl try-restart litecached.service",
            ]
        );
        let refused = uninstall(&own, true).unwrap_err();
        assert!(refused.message.contains("apt purge litecached"), "{refused:?}");
    }

    #[test]
    fn behind_a_link_only_the_database_is_purged() {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().canonicalize().unwrap().join("disk");
        fs::create_dir(&disk).unwrap();
        ["litecached.db", "litecached.db-wal", "photos"]
            .iter()
            .for_each(|name| fs::write(disk.join(name), "").unwrap());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&disk, &link).unwrap();
        let files = ["litecached.db", "litecached.db-wal"].map(|name| disk.join(name));
        assert_eq!(database_behind_link(&link), files);
        assert_eq!(database_behind_link(&disk), [] as [PathBuf; 0], "removed whole");

        let here = Here { elsewhere: files.into(), ..here("/srv/litecached", Units::None, false) };
        let remove = |file: &PathBuf| format!("remove {}", file.display());
        let steps = said(&uninstall(&here, true).unwrap());
        assert!(here.elsewhere.iter().all(|file| steps.contains(&remove(file))), "{steps:?}");
        let steps = said(&uninstall(&here, false).unwrap());
        assert!(!here.elsewhere.iter().any(|file| steps.contains(&remove(file))), "{steps:?}");
    }

    #[test]
    fn only_a_purge_takes_the_database() {
        let here = here("/usr/local/bin/litecached", Units::Own, false);
        let database = "remove /var/lib/litecached".to_owned();
        assert!(!said(&uninstall(&here, false).unwrap()).contains(&database));
        assert!(said(&uninstall(&here, true).unwrap()).contains(&database));
    }
}
