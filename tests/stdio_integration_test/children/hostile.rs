//! A child that tries everything to get at what is not its own.

use std::collections::BTreeMap;
use std::net::TcpListener;

use agent_mesh::mesh::integration::Template;
use agent_mesh::mesh::upstream::ConnectionTarget;
use agent_mesh::outbound::upstream::link::Links;
use agent_mesh::platform;

use super::CANARY;
use super::program::{Child, Home, SCRIPT, plan, template};
use crate::requirement::left_out;

/// Whether the kernel enforces what `part` says.
fn enforced(part: &str) -> bool {
    let support = platform::sandbox_support();
    let enforced = match part {
        "files" => support.files,
        "network" => support.network,
        "signals" => support.signals,
        _ => support.sockets,
    };
    if !enforced {
        left_out(
            "landlock",
            &format!("the kernel does not hold processes to {part}"),
        );
    }
    enforced
}

/// What would show something of other processes.
fn at_processes(processes: &[u32]) -> impl Iterator<Item = String> {
    const FILES: [&str; 8] = [
        "environ",
        "mem",
        "maps",
        "cmdline",
        "status",
        "stat",
        "root/etc/shadow",
        "cwd/x",
    ];
    processes.iter().flat_map(|process| {
        let read = |file: &str| format!("open('/proc/{process}/{file}', 'rb').read()");
        let list = format!("os.listdir('/proc/{process}/fd')");
        FILES.map(read).into_iter().chain([list])
    })
}

/// What would show or change something in folders other than the child's `own` temporary one.
fn at_folders(home: &Home, own: &str) -> impl Iterator<Item = String> {
    let data = home.path().join("data");
    let table = data.join("table.db");
    let (data, table) = (data.display(), table.display());
    let mut tries = vec![
        format!("open('{table}').read()"),
        format!("os.rename('{table}', 'stolen')"),
        format!("os.link('{table}', 'stolen')"),
        format!("os.listdir('{data}')"),
        format!("open('{data}/new', 'w')"),
        format!("os.listdir('{}')", home.children().display()),
        "open('/etc/shadow').read()".to_owned(),
        "open('/usr/bin/new', 'w')".to_owned(),
    ];
    for folder in ["/proc", "/root", "/home", "/tmp", "/dev"] {
        tries.push(format!("os.listdir('{folder}')"));
    }
    for entry in std::fs::read_dir(home.children()).unwrap().flatten() {
        let path = entry.path();
        let shown = path.display();
        if path.is_file() {
            tries.push(format!("open('{shown}').read()"));
        } else if path != std::path::Path::new(own) {
            tries.push(format!("os.listdir('{shown}')"));
        }
    }
    tries.into_iter()
}

#[tokio::test]
async fn it_reads_neither_our_memory_nor_our_data_nor_another_childs() {
    if !enforced("files") {
        return;
    }
    let home = Home::new();
    let other = home.open_with("eve", &[("TOKEN", CANARY)]).await;
    let mut child = home.open("ada").await;
    let own = child
        .run("import os; result = os.environ['TMPDIR']")
        .await
        .unwrap();
    let strangers = [std::process::id(), other.id()]
        .into_iter()
        .chain(home.tree());
    let strangers: Vec<u32> = strangers.filter(|process| *process != child.id()).collect();
    let tries = at_processes(&strangers).chain(at_folders(&home, own.as_str().unwrap()));
    for code in tries {
        let code = format!("import os\nresult = str({code})");
        let refused = child.run(&code).await;
        // A link across is refused as one between file systems.
        let is_refusal = |why: &String| {
            ["PermissionError", "OSError: [Errno 18]"]
                .iter()
                .any(|kind| why.starts_with(kind))
        };
        assert!(
            refused.as_ref().is_err_and(is_refusal),
            "{code}: {refused:?}"
        );
    }
    // What is its own is there.
    child
        .run("open('mine', 'w').write('x'); result = open('mine').read()")
        .await
        .unwrap();
    other.close().await;
    child.close().await;
}

#[tokio::test]
async fn it_signals_and_traces_nobody() {
    if !enforced("signals") {
        return;
    }
    let home = Home::new();
    let other = home.open("eve").await;
    let mut child = home.open("ada").await;
    let targets = home.tree().into_iter().chain([std::process::id()]);
    let own = child.id();
    for target in targets.filter(|target| *target != own) {
        for signal in [0, 9, 15, 19] {
            let code = format!("import os; os.kill({target}, {signal})");
            let refused = child.run(&code).await.unwrap_err();
            assert!(
                refused.starts_with("PermissionError"),
                "{target}: {refused}"
            );
        }
        // PTRACE_ATTACH and PTRACE_SEIZE, and reading memory from outside.
        let code = format!(
            "import ctypes\n\
             libc = ctypes.CDLL(None, use_errno=True)\n\
             failed = [libc.ptrace(16, {target}, 0, 0), libc.ptrace(0x4206, {target}, 0, 0)]\n\
             buffer = ctypes.create_string_buffer(8)\n\
             class iovec(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('len', ctypes.c_size_t)]\n\
             local = iovec(ctypes.addressof(buffer), 8)\n\
             failed.append(libc.process_vm_readv({target}, ctypes.byref(local), 1, ctypes.byref(local), 1, 0))\n\
             result = failed"
        );
        assert_eq!(
            child.run(&code).await.unwrap(),
            serde_json::json!([-1, -1, -1])
        );
    }
    // Its own children it may.
    child
        .run("import subprocess; p = subprocess.Popen(['/bin/sleep', '60']); p.kill(); result = p.wait()")
        .await
        .unwrap();
    other.close().await;
    child.close().await;
}

#[tokio::test]
async fn it_reaches_no_port_that_is_not_listed_and_no_local_socket() {
    let home = Home::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let socket = home.path().join("engine.sock");
    let _engine = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut child = home.open("ada").await;
    let connect = |address: &str, port: u16| {
        format!("import socket; socket.create_connection(('{address}', {port}), timeout=2)")
    };
    if enforced("network") {
        for (address, port) in [
            ("169.254.169.254", 80),
            ("127.0.0.1", port),
            ("127.0.0.1", 22),
        ] {
            let refused = child.run(&connect(address, port)).await.unwrap_err();
            assert!(
                refused.starts_with("PermissionError"),
                "{address}: {refused}"
            );
        }
        let code = "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()";
        assert!(
            child
                .run(code)
                .await
                .unwrap_err()
                .starts_with("PermissionError")
        );
        // A port that is listed is merely closed here.
        let open = child.run(&connect("127.0.0.1", 443)).await;
        assert!(!open.is_err_and(|why| why.starts_with("PermissionError")));
    }
    if enforced("sockets") {
        let code = format!(
            "import socket; s = socket.socket(socket.AF_UNIX); s.connect('{}')",
            socket.display()
        );
        assert!(
            child
                .run(&code)
                .await
                .unwrap_err()
                .starts_with("PermissionError")
        );
        let code = "import ctypes; libc = ctypes.CDLL(None); result = libc.syscall(425, 8, 0)";
        assert_eq!(child.run(code).await.unwrap(), serde_json::json!(-1));
    }
    child.close().await;
}

#[tokio::test]
async fn it_connects_by_no_way_that_goes_around_the_ports() {
    if !enforced("network") {
        return;
    }
    let mut home = Home::new();
    let [listed, closed] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [listed_port, port] =
        [&listed, &closed].map(|listener| listener.local_addr().unwrap().port());
    let template = Template {
        ports: vec![listed_port],
        ..template(&["-c", SCRIPT, "--root={root}"], "[a-z]*")
    };
    home.settings.templates = BTreeMap::from([("script".to_owned(), template)]).into();
    let target = ConnectionTarget::Template {
        template: "script".to_owned(),
        slots: BTreeMap::from([("root".to_owned(), "a".to_owned())]),
        env: BTreeMap::new(),
    };
    let mut child = Child::new(home.links().open(&plan("ada", target)).await.unwrap());
    let tries = [
        // MPTCP, SCTP, UDP-Lite, and a type that means SCTP by itself.
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)".to_owned(),
        "socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 262)".to_owned(),
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132)".to_owned(),
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136)".to_owned(),
        "socket.socket(socket.AF_INET, socket.SOCK_SEQPACKET)".to_owned(),
        // SMC over a connection that TCP has opened, and whatever else takes one over.
        "socket.socket().setsockopt(6, 31, b'smc')".to_owned(),
        "socket.socket(socket.AF_INET6).setsockopt(6, 31, b'tls')".to_owned(),
        // TCP Fast Open, alone and among other flags.
        format!("socket.socket().sendto(b'x', 0x20000000, ('127.0.0.1', {port}))"),
        format!("socket.socket().sendto(b'x', 0x20004040, ('127.0.0.1', {port}))"),
        format!("socket.socket().sendmsg([b'x'], [], 0x20000000, ('127.0.0.1', {port}))"),
    ];
    for code in tries {
        let refused = child.run(&format!("import socket; {code}")).await;
        assert!(
            refused
                .as_ref()
                .is_err_and(|why| why.starts_with("PermissionError: [Errno 1]")),
            "{code}: {refused:?}"
        );
    }
    // Refused before the messages, which are none, are looked at.
    let code = "import ctypes, socket\n\
                libc = ctypes.CDLL(None, use_errno=True)\n\
                made = socket.socket()\n\
                result = [libc.sendmmsg(made.fileno(), None, 1, 0x20000000), ctypes.get_errno()]";
    assert_eq!(child.run(code).await.unwrap(), serde_json::json!([-1, 1]));
    if cfg!(target_arch = "x86_64") {
        // The same calls by the numbers of x32: getpid, socket, and a number that is none.
        for call in ["39", "41, 2, 1, 262", "999"] {
            let code = format!(
                "import ctypes\n\
                 libc = ctypes.CDLL(None, use_errno=True)\n\
                 result = [libc.syscall(0x40000000 + {call}), ctypes.get_errno()]"
            );
            let refused = child.run(&code).await.unwrap();
            assert_eq!(refused, serde_json::json!([-1, 1]), "{call}");
        }
    }
    closed.set_nonblocking(true).unwrap();
    assert_eq!(
        closed.accept().unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
    // The plain way to a port that is listed is open, and so is sending there and to a name server.
    let code = format!(
        "import socket\n\
         made = socket.create_connection(('127.0.0.1', {listed_port}), timeout=10)\n\
         sent = made.sendmsg([b'x'], [], socket.MSG_NOSIGNAL)\n\
         asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', 0, ('127.0.0.1', 9))\n\
         result = [sent, asked]"
    );
    assert_eq!(child.run(&code).await.unwrap(), serde_json::json!([1, 1]));
    listed.accept().unwrap();
    child.close().await;
}

#[tokio::test]
async fn it_finds_no_descriptor_of_ours_and_no_privilege() {
    let home = Home::new();
    // One that whoever started the server left open for every program.
    let leaked = std::fs::File::open(home.path().join("data/table.db")).unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let mut child = home.open("ada").await;
    // The listing itself is the fourth.
    let code = "import os; result = sorted(int(n) for n in os.listdir('/proc/self/fd'))";
    let open = child.run(code).await.unwrap();
    assert_eq!(open, serde_json::json!([0, 1, 2, 3]));
    let status = child
        .run("result = open('/proc/self/status').read()")
        .await
        .unwrap();
    let field = |name: &str| {
        let line = status
            .as_str()
            .unwrap()
            .lines()
            .find(|line| line.starts_with(name));
        line.unwrap()
            .split_ascii_whitespace()
            .nth(1)
            .unwrap()
            .to_owned()
    };
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(u64::from_str_radix(&field("CapEff:"), 16).unwrap(), 0);
    let limits = "import resource; result = [resource.getrlimit(resource.RLIMIT_CORE), \
                  resource.getrlimit(resource.RLIMIT_NOFILE)[1] <= 4096]";
    let limits = child.run(limits).await.unwrap();
    assert_eq!(limits, serde_json::json!([[0, 0], true]));
    // It leads a session of its own, so no terminal is its own either.
    let session = child
        .run("import os; result = os.getsid(0) == os.getpid()")
        .await
        .unwrap();
    assert_eq!(session, true);
    child.close().await;
}
