use crate::scan_child as _;
