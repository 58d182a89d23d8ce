-- The last of these events of a medium says whether it is withdrawn; asked for every medium, however long its log is. A program that does not know them would count
-- such a medium, and refuses this version.
CREATE INDEX event_withdrawal ON event (medium, id) WHERE stage IN ('withdraw', 'reinstate');
