//! The thread that starts all children.
//!
//! A child asks to be killed when its parent dies, and to Linux the parent is the *thread* that forked (`PR_SET_PDEATHSIG`, prctl(2)). A child that is
//! handed from one thread to another would die with the first. So one thread starts them all, and it ends only with the process.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// A program to start, and where to say how that went.
struct Order {
    command: Command,
    started: Sender<io::Result<Child>>,
}

/// The way to the thread, once there is one.
static LAUNCHER: Mutex<Option<Sender<Order>>> = Mutex::new(None);

/// Starts a program that lives, as far as its parent is concerned, as long as this process.
///
/// # Errors
///
/// Those of [`Command::spawn`], and of starting a thread.
pub(super) fn spawn(command: Command) -> io::Result<Child> {
    let (started, answer) = channel();
    hand_over(Order { command, started })?;
    answer.recv().unwrap_or_else(|_| Err(is_gone()))
}

fn hand_over(order: Order) -> io::Result<()> {
    let mut launcher = LAUNCHER.lock().unwrap_or_else(PoisonError::into_inner);
    let sender = match &mut *launcher {
        Some(sender) => sender,
        none => none.insert(begin()?),
    };
    sender.send(order).map_err(|_| is_gone())
}

fn begin() -> io::Result<Sender<Order>> {
    let (sender, orders) = channel();
    thread::Builder::new()
        .name("child launcher".to_owned())
        .spawn(move || serve(&orders))?;
    Ok(sender)
}

fn serve(orders: &Receiver<Order>) {
    for mut order in orders {
        // Who asked has gone if it cannot be told; the child then sees that its socket is closed.
        let _ = order.started.send(order.command.spawn());
    }
}

fn is_gone() -> io::Error {
    io::Error::other("the thread that starts children has ended")
}
