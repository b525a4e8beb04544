//! Prints a conversation of two clients with a server that has a process for each connection: its
//! greeting, and each line again.
//!
//! `echo_server serve 127.0.0.1:8888` serves until it is ended, `echo_server connect 127.0.0.1:8888`
//! sends the lines that are typed.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use multiproc::{Fd, Process, TaskFailure, current_process};

type Outcome = Result<(), Box<dyn Error>>;

/// One connection, in a process of its own. Any error is one of the task.
fn talk((stream, number): (Fd<TcpStream>, usize)) -> Result<(), TaskFailure> {
    let mut out = stream.0.try_clone()?;
    let pid = current_process().pid();
    writeln!(out, "hello, client {number}; I am process {pid}")?;
    for line in BufReader::new(stream.0).lines() {
        writeln!(out, "{}", line?)?;
    }
    Ok(())
}

/// Accepts connections, as many as are wanted.
fn serve(listener: &TcpListener, connections: usize) -> Outcome {
    for (number, stream) in (1..).zip(listener.incoming()).take(connections) {
        // The child gets a descriptor of its own; this one is closed when it has been sent. Whoever
        // ends is reaped, joined or not.
        Process::new(talk, (Fd(stream?), number))
            .name(format!("client-{number}"))
            .daemon(true)
            .start()?;
    }
    Ok(())
}

/// Sends lines and prints what comes back.
fn converse(address: &str, lines: impl Iterator<Item = io::Result<String>>) -> Outcome {
    let mut out = TcpStream::connect(address)?;
    let mut answers = BufReader::new(out.try_clone()?).lines();
    let mut hear = || match answers.next() {
        Some(answer) => answer.map(|answer| println!("{address} says: {answer}")),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    };
    hear()?;
    for line in lines {
        writeln!(out, "{}", line?)?;
        hear()?;
    }
    Ok(())
}

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => demonstrate(),
        ["serve", address] => serve(&TcpListener::bind(address)?, usize::MAX),
        ["connect", address] => converse(address, io::stdin().lines()),
        _ => Err("nothing, serve ADDRESS, or connect ADDRESS".into()),
    }
}

/// Two clients at once, and a server for as many connections.
fn demonstrate() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let client = |(address, name): (String, String)| {
        let lines = [format!("{name} was here"), format!("{name} goes")];
        converse(&address, lines.into_iter().map(Ok)).map_err(|error| error.to_string())
    };
    let start = |name: &str| Process::new(client, (address.clone(), name.to_owned())).start();
    let clients = [start("Ada")?, start("Grace")?];
    serve(&listener, clients.len())?;
    for client in clients {
        client.join()??;
    }
    Ok(())
}
