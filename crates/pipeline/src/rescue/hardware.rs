//! What sysfs says of a device: model, serial, WWN, USB ids. Nothing is asked of the device itself.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use ntt_catalogue::rows::Evidence;
use ntt_rescue::geometry::Class;

/// Directories above a device that are looked through for a USB device.
const ANCESTORS_MAX: usize = 12;
/// A file of sysfs with an identifier is shorter.
const TEXT_BYTES_MAX: usize = 256;
/// Serials that bridges give to whatever is behind them.
const TRIVIAL_SERIALS: [&str; 6] = [
    "DD56419883914",
    "DD56419883891",
    "ABCDEF0123456789",
    "20080411",
    "DEADBEEF",
    "NONE",
];

/// A device as the system knows it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Hardware {
    /// Whether media come and go: then all else tells of the drive, and nothing of the medium (R2).
    pub(crate) removable: bool,
    facts: Vec<(&'static str, String)>,
}

impl Hardware {
    /// Of a block device; nothing is known of a file.
    pub(crate) fn of(path: &Path) -> Self {
        let number = fs::metadata(path)
            .ok()
            .filter(|metadata| metadata.file_type().is_block_device())
            .map(|metadata| metadata.rdev());
        let place = number.and_then(|number| {
            let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
            fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()
        });
        place.map_or_else(Self::default, |place| Self::at(&place))
    }

    /// Of the directory of a block device or a partition in sysfs.
    fn at(place: &Path) -> Self {
        let disk = if place.join("partition").exists() {
            place.parent().unwrap_or(place)
        } else {
            place
        };
        let mut facts = Vec::new();
        let mut add = |kind, value: Option<String>| {
            facts.extend(value.map(|value| (kind, value)));
        };
        let device = disk.join("device");
        add("vendor", text(&device.join("vendor")));
        add(
            "model",
            text(&device.join("model")).or_else(|| text(&device.join("name"))),
        );
        add(
            "serial",
            serial_page(&device).or_else(|| text(&device.join("serial"))),
        );
        add(
            "wwn",
            text(&device.join("wwid")).or_else(|| text(&disk.join("wwid"))),
        );
        if let Some(usb) = usb_device(&device) {
            let id = |name| text(&usb.join(name));
            add(
                "usb-id",
                id("idVendor")
                    .zip(id("idProduct"))
                    .map(|(vendor, product)| format!("{vendor}:{product}")),
            );
            add("usb-serial", id("serial"));
        }
        Self {
            removable: text(&disk.join("removable")).as_deref() == Some("1"),
            facts,
        }
    }

    /// The evidence of it. What belongs to a drive with removable media is kept as `drive-...`, which recognises nothing.
    pub(crate) fn evidence(&self, class: Class) -> Vec<Evidence> {
        let of_the_drive = self.removable || class != Class::Disk;
        let prefix = if of_the_drive { "drive" } else { "device" };
        let facts = self.facts.iter().filter(|(_, value)| !is_trivial(value));
        facts
            .map(|(kind, value)| Evidence {
                kind: format!("{prefix}-{kind}"),
                value: value.clone(),
                origin: "sysfs".to_owned(),
            })
            .collect()
    }

    /// A fact as the system gives it.
    pub(crate) fn fact(&self, kind: &str) -> Option<&str> {
        let found = self.facts.iter().find(|(known, _)| *known == kind);
        found.map(|(_, value)| value.as_str())
    }
}

/// The content of a file of sysfs, without blanks around it; `None` if there is none or it is empty.
fn text(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    clean(bytes.get(..TEXT_BYTES_MAX).unwrap_or(&bytes))
}

/// Printable text; hardware pads with blanks, NULs and worse.
fn clean(bytes: &[u8]) -> Option<String> {
    let text: String = String::from_utf8_lossy(bytes)
        .chars()
        .filter(|character| !character.is_control() && *character != '\u{fffd}')
        .collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The serial number in page 0x80 of a SCSI device's vital product data: four bytes of head, then the number (SPC-4, 7.8.12).
fn serial_page(device: &Path) -> Option<String> {
    let page = fs::read(device.join("vpd_pg80")).ok()?;
    clean(page.get(4..)?)
}

fn usb_device(device: &Path) -> Option<PathBuf> {
    let place = fs::canonicalize(device).ok()?;
    let mut above = place.ancestors().take(ANCESTORS_MAX);
    above
        .find(|place| place.join("idVendor").exists())
        .map(Path::to_owned)
}

/// Whether a serial is one that a bridge made up: too short, one digit over and over, digits that count up, or one known to be given to all.
pub(crate) fn is_trivial(serial: &str) -> bool {
    const COUNTING: &str = "0123456789ABCDEF0123456789ABCDEF";
    const COUNTING_FROM_ONE: &str = "1234567890123456789012345678901234567890";
    let serial: String = serial
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|character| character.to_ascii_uppercase())
        .collect();
    let mut distinct: Vec<char> = serial.chars().collect();
    distinct.sort_unstable();
    distinct.dedup();
    distinct.len() <= 1
        || (serial.len() >= 6
            && [COUNTING, COUNTING_FROM_ONE]
                .iter()
                .any(|row| row.contains(&serial)))
        || TRIVIAL_SERIALS.contains(&serial.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sysfs(removable: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        let device = root.path().join("usb1/1-2/host0/target0/0:0:0:0");
        let disk = device.join("block/sdb");
        fs::create_dir_all(disk.join("sdb1")).expect("made");
        let write =
            |place: &Path, name: &str, value: &[u8]| fs::write(place.join(name), value).expect("written");
        write(&disk, "removable", removable.as_bytes());
        write(&disk.join("sdb1"), "partition", b"1\n");
        write(&device, "vendor", b"WDC     \n");
        write(&device, "model", b"WD5000AAKS\n");
        write(&device, "vpd_pg80", b"\0\x80\0\x14     WD-WCAPW1234567");
        write(&root.path().join("usb1/1-2"), "idVendor", b"152d\n");
        write(&root.path().join("usb1/1-2"), "idProduct", b"2338\n");
        write(&root.path().join("usb1/1-2"), "serial", b"0123456789ABCDEF\n");
        std::os::unix::fs::symlink(&device, disk.join("device")).expect("a link");
        root
    }

    fn evidence(removable: &str, below: &str) -> Vec<(String, String)> {
        let root = sysfs(removable);
        let disk = root
            .path()
            .join("usb1/1-2/host0/target0/0:0:0:0/block")
            .join(below);
        let evidence = Hardware::at(&disk).evidence(Class::Disk);
        evidence
            .into_iter()
            .map(|piece| (piece.kind, piece.value))
            .collect()
    }

    #[test]
    fn r2_a_disk_says_who_it_is_and_its_bridge_does_not() {
        let pair = |kind: &str, value: &str| (kind.to_owned(), value.to_owned());
        let expected = [
            pair("device-vendor", "WDC"),
            pair("device-model", "WD5000AAKS"),
            pair("device-serial", "WD-WCAPW1234567"),
            pair("device-usb-id", "152d:2338"),
        ];
        assert_eq!(evidence("0\n", "sdb"), expected);
        assert_eq!(
            evidence("0\n", "sdb/sdb1"),
            expected,
            "a partition is of its disk"
        );
    }

    #[test]
    fn r2_the_serial_of_a_drive_is_not_that_of_the_medium_in_it() {
        let kinds: Vec<String> = evidence("1\n", "sdb").into_iter().map(|(kind, _)| kind).collect();
        assert!(kinds.iter().all(|kind| kind.starts_with("drive-")), "{kinds:?}");
    }

    #[test]
    fn r2_made_up_serials_are_none() {
        for made_up in [
            "",
            "0",
            "000000000000",
            "0123456789ABCDEF",
            "123456789012",
            "DD56419883914",
            "ffff-ffff",
        ] {
            assert!(is_trivial(made_up), "{made_up}");
        }
        for real in ["WD-WCAPW1234567", "S21NSAG123456", "7200"] {
            assert!(!is_trivial(real), "{real}");
        }
    }
}
