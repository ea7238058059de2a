//! A server that speaks PostgreSQL's protocol and answers what PostgreSQL never would.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::support::{Project, stream_report};

/// What the server answers for the only column of every row.
#[derive(Clone, Copy)]
enum Column {
    /// A text, of the type `text`.
    Text,
    /// NULL, of the type that a test of rows may expect.
    Null,
}

/// Listens; every connection is answered by a thread of its own.
fn strange(column: Column) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let _ = serve(stream, column);
            });
        }
    });
    port
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag], length.as_slice(), body].concat()
}

fn serve(mut stream: TcpStream, column: Column) -> std::io::Result<()> {
    let startup = body(&mut stream)?;
    // A request for TLS is declined.
    if startup.starts_with(&80_877_103_u32.to_be_bytes()) {
        stream.write_all(b"N")?;
        body(&mut stream)?;
    }
    let ready = message(b'Z', b"I");
    stream.write_all(&[message(b'R', &0_u32.to_be_bytes()), ready.clone()].concat())?;
    let field = [
        b"x\0".as_slice(),
        &0_u32.to_be_bytes(),
        &0_u16.to_be_bytes(),
        &25_u32.to_be_bytes(),
        &(-1_i16).to_be_bytes(),
        &(-1_i32).to_be_bytes(),
        &0_u16.to_be_bytes(),
    ]
    .concat();
    let described = message(b'T', &[1_u16.to_be_bytes().as_slice(), &field].concat());
    let row = match column {
        Column::Text => [1_u16.to_be_bytes().as_slice(), &1_u32.to_be_bytes(), b"x"].concat(),
        Column::Null => [1_u16.to_be_bytes().as_slice(), &(-1_i32).to_be_bytes()].concat(),
    };
    let row = message(b'D', &row);
    let complete = message(b'C', b"SELECT 1\0");
    let mut tag = [0];
    loop {
        stream.read_exact(&mut tag)?;
        let body = body(&mut stream)?;
        let answer = match tag[0] {
            b'Q' => {
                let answer = [described.clone(), row.clone(), complete.clone()];
                [answer.concat(), ready.clone()].concat()
            }
            b'P' => message(b'1', b""),
            b'D' if body.starts_with(b"S") => {
                // As many parameters as are named, all of them texts.
                let none = message(b't', &0_u16.to_be_bytes());
                [none, described.clone()].concat()
            }
            b'D' => described.clone(),
            b'B' => message(b'2', b""),
            b'E' => [row.clone(), complete.clone()].concat(),
            b'C' => message(b'3', b""),
            b'S' => ready.clone(),
            b'X' => return Ok(()),
            _ => Vec::new(),
        };
        stream.write_all(&answer)?;
    }
}

/// The rest of a message, whose length comes first.
fn body(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap();
    let mut body = vec![0; length.saturating_sub(4)];
    stream.read_exact(&mut body)?;
    Ok(body)
}

#[test]
fn answers_that_are_not_what_they_have_to_be_are_errors_of_their_streams() {
    let mut project = Project::new("strange", "");
    project
        .source
        .batch("CREATE TABLE t AS SELECT 1 AS x")
        .unwrap();
    let config = std::fs::read_to_string(project.path("acequia.toml")).unwrap();
    let streams = "[sources.rara]\nkind = \"postgres\"\nurl = \"${RARA_URL}\"\n\
         [streams.a]\nsource = \"rara\"\ntable = \"public.t\"\nmode = \"full\"\n\
         [streams.b]\nsource = \"rara\"\nquery = \"SELECT 1\"\nmode = \"full\"\n\
         [streams.c]\nsource = \"rara\"\ntable = \"public.t\"\nmode = \"cdc\"\n\
         [streams.t]\nsource = \"operativa\"\ntable = \"public.t\"\nmode = \"full\"\n";
    project.configure(&format!("{config}{streams}"));
    for column in [Column::Text, Column::Null] {
        let port = strange(column);
        let url = format!("postgres://ana@127.0.0.1:{port}/rara?connect_timeout=5&sslmode=disable");
        project.set("RARA_URL", &url);
        let output = project.acequia(&["run", "--output", "json"]);
        assert_eq!(output.status, Some(1), "{output:?}");
        let report = output.json();
        for stream in ["a", "b", "c"] {
            assert_eq!(
                stream_report(&report, stream)["status"],
                "failed",
                "{output:?}"
            );
        }
        assert_eq!(stream_report(&report, "t")["status"], "ok", "{output:?}");
        for command in [&["check"][..], &["run", "--dry-run"], &["status"]] {
            let output = project.acequia(command);
            assert_eq!(output.status, Some(1), "{command:?}: {output:?}");
        }
    }
}
