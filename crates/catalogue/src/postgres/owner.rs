//! The archive that a catalogue belongs to. What a catalogue calls stored lies in the store of one archive: beside another one it would promise what is
//! not there (R37).

use super::connection::Connection;
use super::{Durability, PostgresCatalogue};
use crate::Error;

impl PostgresCatalogue {
    /// Makes the catalogue that of `archive`, if it is nobody's yet. Durable when it returns.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] if it is another archive's.
    pub fn belong_to(&self, archive: &str) -> Result<(), Error> {
        let owner = self.write(Durability::Power, |connection| {
            let sql = "UPDATE ntt_schema SET archive = $1 WHERE archive IS NULL";
            connection.execute(sql, &[&archive])?;
            owner(connection)
        })?;
        self.compare(owner.as_deref(), Some(archive))
    }

    /// Makes sure that the catalogue is not another archive's; `None` stands for one that never had a catalogue in a server.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] if it is.
    pub fn check_owner(&self, archive: Option<&str>) -> Result<(), Error> {
        let owner = self.at_once(owner)?;
        self.compare(owner.as_deref(), archive)
    }

    fn compare(&self, owner: Option<&str>, archive: Option<&str>) -> Result<(), Error> {
        if owner.is_none() || owner == archive {
            return Ok(());
        }
        Err(Error::Foreign {
            place: self.place.shown().to_owned(),
        })
    }
}

fn owner(connection: &Connection) -> Result<Option<String>, Error> {
    connection.one("SELECT archive FROM ntt_schema", &[])
}
