//! The rules on Linux: Landlock for files, ports and signals, seccomp for sockets and what undermines the rest.

use std::collections::BTreeMap;
use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

use super::{Sandbox, SandboxRules};

/// The newest version whose rules are asked for.
const NEWEST: ABI = ABI::V6;
/// The version that first holds TCP ports.
const NETWORK_ABI: u8 = 4;
/// The version that first holds signals and sockets without a file.
const SIGNALS_ABI: u8 = 6;

/// The families of sockets that remain: addresses of networks, and what the resolver asks the kernel with.
const FAMILIES: [i32; 3] = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// The families of [`FAMILIES`] that carry more than one protocol.
const INTERNET_FAMILIES: [i32; 2] = [libc::AF_INET, libc::AF_INET6];

/// The protocols that remain there. Landlock's rule for ports sees neither `IPPROTO_MPTCP`, which opens
/// plain TCP to a peer that does not speak it, nor SCTP, SMC or UDP-Lite.
const PROTOCOLS: [i32; 3] = [libc::IPPROTO_IP, libc::IPPROTO_TCP, libc::IPPROTO_UDP];

/// The types that are refused there, since protocol 0 would mean another transport than TCP and UDP.
const REFUSED_TYPES: [i32; 3] = [libc::SOCK_RAW, libc::SOCK_SEQPACKET, libc::SOCK_DCCP];

/// The bits of the second argument of `socket` that are the type; the others are flags of the descriptor.
const TYPE_MASK: u64 = 0xf;

/// What a call that is refused gets.
const REFUSAL: SeccompAction = SeccompAction::Errno(libc::EPERM.unsigned_abs());

/// The calls that connect where `MSG_FASTOPEN` is set, unseen by Landlock, and which argument holds their flags.
const FAST_OPENING_CALLS: [(i64, u8); 3] = [
    (libc::SYS_sendto, 3),
    (libc::SYS_sendmsg, 2),
    (libc::SYS_sendmmsg, 3),
];

/// The calls of another numbering, x32, begin here where there are any; each is one of ours by another number,
/// which no rule sees.
const OTHER_CALLS: u32 = 0x4000_0000;

/// Calls that get around the other rules, or that reach into other processes or the kernel.
const REFUSED_CALLS: [i64; 13] = [
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_open_by_handle_at,
];

/// Holds this thread, and every program that it becomes or starts, to `rules`, for good; it gains no
/// privileges either from now on. What the kernel cannot enforce is left out and said.
///
/// # Errors
/// The rules could not be made; nothing is enforced then.
pub fn sandbox(rules: &SandboxRules) -> io::Result<Sandbox> {
    rustix::thread::set_no_new_privs(true)?;
    let abi = landlock_abi();
    let enforced = landlock(rules).map_err(io::Error::other)?;
    let sockets = refuse_calls().is_ok();
    Ok(held(if enforced { abi } else { 0 }, sockets))
}

/// What [`sandbox`] would enforce here.
pub fn sandbox_support() -> Sandbox {
    let seccomp = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail");
    let sockets = seccomp.is_ok_and(|actions| actions.contains("errno")) && filter().is_ok();
    held(landlock_abi(), sockets)
}

/// What Landlock's version `abi`, 0 for none, and the filter, where it holds `sockets`, enforce together.
fn held(abi: u8, sockets: bool) -> Sandbox {
    Sandbox {
        landlock_abi: abi,
        files: abi >= 1,
        // Without the filter there are ways to connect that Landlock does not see.
        network: abi >= NETWORK_ABI && sockets,
        signals: abi >= SIGNALS_ABI,
        sockets,
    }
}

/// The newest version that both the kernel and we know.
fn landlock_abi() -> u8 {
    const ABIS: [(u8, ABI); 6] = [
        (6, ABI::V6),
        (5, ABI::V5),
        (4, ABI::V4),
        (3, ABI::V3),
        (2, ABI::V2),
        (1, ABI::V1),
    ];
    let supports = |abi: ABI| {
        let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        let mut ruleset = ruleset.handle_access(AccessFs::from_all(abi))?;
        if !AccessNet::from_all(abi).is_empty() {
            ruleset = ruleset.handle_access(AccessNet::from_all(abi))?;
        }
        if !Scope::from_all(abi).is_empty() {
            ruleset = ruleset.scope(Scope::from_all(abi))?;
        }
        ruleset.create()
    };
    let newest = ABIS.into_iter().find(|(_, abi)| supports(*abi).is_ok());
    newest.map_or(0, |(number, _)| number)
}

/// Whether any of it is enforced.
fn landlock(rules: &SandboxRules) -> Result<bool, RulesetError> {
    let ports = rules
        .ports
        .iter()
        .map(|port| Ok::<_, RulesetError>(NetPort::new(*port, AccessNet::ConnectTcp)));
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rules(path_beneath_rules(
            &rules.readable,
            AccessFs::from_read(NEWEST),
        ))?
        .add_rules(path_beneath_rules(
            &rules.writable,
            AccessFs::from_all(NEWEST),
        ))?
        .add_rules(ports)?
        .restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

fn refuse_calls() -> Result<(), seccompiler::Error> {
    seccompiler::apply_filter(&filter().map_err(seccompiler::Error::Backend)?)
}

/// The filter of system calls. A kernel without one of them never sees it.
fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED_CALLS
        .into_iter()
        .map(|call| (call, Vec::new()))
        .collect();
    rules.insert(libc::SYS_socket, refused_sockets()?);
    let fast_open = u64::from(libc::MSG_FASTOPEN.unsigned_abs());
    for (call, flags) in FAST_OPENING_CALLS {
        let condition = argument(flags, SeccompCmpOp::MaskedEq(fast_open), libc::MSG_FASTOPEN)?;
        rules.insert(call, vec![SeccompRule::new(vec![condition])?]);
    }
    // A protocol above TCP takes a connection over: SMC turns it into one that Landlock does not see.
    let is_tcp = argument(1, SeccompCmpOp::Eq, libc::IPPROTO_TCP)?;
    let is_upper = argument(2, SeccompCmpOp::Eq, libc::TCP_ULP)?;
    let upper = SeccompRule::new(vec![is_tcp, is_upper])?;
    rules.insert(libc::SYS_setsockopt, vec![upper]);
    let program: BpfProgram = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        REFUSAL,
        TargetArch::try_from(std::env::consts::ARCH)?,
    )?
    .try_into()?;
    Ok(without_other_calls().into_iter().chain(program).collect())
}

/// What stands before the filter, which knows calls by single numbers alone: it refuses all from
/// [`OTHER_CALLS`] on.
fn without_other_calls() -> [sock_filter; 3] {
    const LOAD_NUMBER: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const JUMP_IF_AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let step = |code: u32, k: u32, jf: u8| sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt: 0,
        jf,
        k,
    };
    [
        step(LOAD_NUMBER, 0, 0),
        step(JUMP_IF_AT_LEAST, OTHER_CALLS, 1),
        step(RETURN, REFUSAL.into(), 0),
    ]
}

/// The sockets that cannot be made: any one of these rules refuses.
fn refused_sockets() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let none_of = |index: u8, values: [i32; 3]| {
        let unlike = |value| argument(index, SeccompCmpOp::Ne, value);
        values
            .into_iter()
            .map(unlike)
            .collect::<Result<Vec<_>, _>>()
    };
    let mut rules = vec![SeccompRule::new(none_of(0, FAMILIES)?)?];
    for family in INTERNET_FAMILIES {
        let family = argument(0, SeccompCmpOp::Eq, family)?;
        let mut conditions = none_of(2, PROTOCOLS)?;
        conditions.push(family.clone());
        rules.push(SeccompRule::new(conditions)?);
        for kind in REFUSED_TYPES {
            let kind = argument(1, SeccompCmpOp::MaskedEq(TYPE_MASK), kind)?;
            rules.push(SeccompRule::new(vec![family.clone(), kind])?);
        }
    }
    Ok(rules)
}

/// A comparison of a call's argument that the kernel takes as an `int`, so its upper half does not count.
fn argument(
    index: u8,
    operator: SeccompCmpOp,
    value: i32,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    let value = u64::from(value.unsigned_abs());
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `act` gives in a thread that is held to `rules`; the rules end with the thread.
    fn within<T: Send>(rules: &SandboxRules, act: impl FnOnce(Sandbox) -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(|| act(sandbox(rules).unwrap())).join().unwrap())
    }

    #[test]
    fn what_is_said_to_be_enforced_is_what_support_promises() {
        let enforced = within(&SandboxRules::default(), |enforced| enforced);
        assert_eq!(enforced, sandbox_support());
    }

    #[test]
    fn only_what_is_listed_can_be_read_or_written() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["open", "mine", "closed"].map(|name| folder.path().join(name));
        for path in &paths {
            std::fs::create_dir(path).unwrap();
            std::fs::write(path.join("file"), "text").unwrap();
        }
        let [open, mine, closed] = paths;
        let rules = SandboxRules {
            readable: vec![open.clone(), folder.path().join("none")],
            writable: vec![mine.clone()],
            ports: Vec::new(),
        };
        within(&rules, |enforced| {
            if enforced.files {
                assert_eq!(std::fs::read_to_string(open.join("file")).unwrap(), "text");
                std::fs::write(open.join("file"), "x").unwrap_err();
                std::fs::write(mine.join("new"), "x").unwrap();
                std::fs::read_to_string(closed.join("file")).unwrap_err();
                std::fs::read_dir(&closed).unwrap_err();
                std::fs::read_to_string("/proc/self/environ").unwrap_err();
            }
        });
    }

    #[test]
    fn only_listed_ports_are_connected_to_and_local_sockets_are_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _local = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let rules = SandboxRules {
            writable: vec![folder.path().to_owned()],
            ports: vec![address.port()],
            ..SandboxRules::default()
        };
        within(&rules, |enforced| {
            std::net::TcpStream::connect(address).unwrap();
            std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            if enforced.sockets {
                std::os::unix::net::UnixStream::connect(&path).unwrap_err();
                std::os::unix::net::UnixStream::pair().unwrap();
            }
        });
        within(&SandboxRules::default(), |enforced| {
            if enforced.network {
                std::net::TcpStream::connect(address).unwrap_err();
                std::net::TcpListener::bind("127.0.0.1:0").unwrap_err();
            }
        });
    }

    #[test]
    fn ports_are_not_held_where_the_filter_is_missing() {
        let enforced = held(NETWORK_ABI, false);
        assert!(enforced.files && !enforced.network && !enforced.sockets);
        assert!(held(NETWORK_ABI, true).network);
        assert!(!held(NETWORK_ABI - 1, true).network);
    }

    #[test]
    fn only_tcp_and_udp_are_spoken() {
        use rustix::net::{AddressFamily, Protocol, SocketType, ipproto, socket};
        let number = |number: u32| Some(Protocol::from_raw(number.try_into().unwrap()));
        within(&SandboxRules::default(), |enforced| {
            if !enforced.sockets {
                return;
            }
            let refused = |family, kind, protocol| {
                let made = socket(family, kind, protocol).map(drop);
                let why = format!("{family:?} {kind:?} {protocol:?}");
                assert_eq!(made, Err(rustix::io::Errno::PERM), "{why}");
            };
            for family in [AddressFamily::INET, AddressFamily::INET6] {
                // ICMP, IGMP, before and after TCP and UDP, DCCP, ICMPv6, SCTP, UDP-Lite, SMC, MPTCP.
                for protocol in [1, 2, 5, 7, 16, 18, 33, 58, 132, 136, 256, 262] {
                    refused(family, SocketType::STREAM, number(protocol));
                    refused(family, SocketType::DGRAM, number(protocol));
                }
                refused(family, SocketType::RAW, Some(ipproto::TCP));
                refused(family, SocketType::SEQPACKET, None);
                refused(family, SocketType::from_raw(6 | 0x80000), None);
            }
            let family = AddressFamily::INET;
            socket(family, SocketType::STREAM, None).unwrap();
            socket(family, SocketType::STREAM, Some(ipproto::TCP)).unwrap();
            socket(family, SocketType::DGRAM, None).unwrap();
            socket(family, SocketType::DGRAM, Some(ipproto::UDP)).unwrap();
            socket(AddressFamily::NETLINK, SocketType::RAW, None).unwrap();
        });
    }
}
