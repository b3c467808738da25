//! An echo server with a thread for each connection, of the standard library alone:
//!
//!     rustc -O -o echo-rust echo.rs
//!     ./echo-rust 127.0.0.1 9000

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::{env, process, thread};

const BUFFER_BYTES: usize = 4096;

fn echo(mut connection: TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        let count = connection.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        connection.write_all(&buffer[..count])?;
    }
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().collect();
    let [_, host, port] = arguments.as_slice() else {
        eprintln!("usage: echo-rust HOST PORT");
        process::exit(2);
    };
    // The backlog is 128 with std: of a thousand clients at once some have to knock twice.
    let listener = TcpListener::bind(format!("{host}:{port}"))?;
    for connection in listener.incoming() {
        let connection = connection?;
        thread::Builder::new().stack_size(64 * 1024).spawn(move || {
            let _ = echo(connection); // a failure ends its connection alone
        })?;
    }
    Ok(())
}
