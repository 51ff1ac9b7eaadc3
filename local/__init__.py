"""The local target: the product on one Linux machine, without AWS. Run as `python -m local`.

A deployment is a bridge with a private /24, machines on it, two load balancers and a name server:

    127.0.0.1:10000, :11080 ─ HAProxy "public" ─▶ secure-proxy ─▶ HAProxy "internal" ─▶ mock-servers
                                                  machines        (bridge address .2)   machines (.10 and up)

Images are built from the component documents in `components/` as EC2 Image Builder does (`document`, `substitution`,
`executor`, `targets`, `build`) on a cached Debian base root (`base_root`, `downloads`). Machines are copies of images
booted by systemd-nspawn in network namespaces of their own (`machine`, `imds`, `network`). `endpoint` stands in
for AWS: what is deployed to it becomes images, machines and listeners. `up` checks (`plan`, `prerequisites`), makes the
network, starts the endpoint and deploys to it (`commands`); `cleanup` removes, also after a crash, by names (`layout`)
and traces (`traces`).
Nothing outside of this package imports it, but for tests.

For tests and other programs
----------------------------
`local.deployment.Deployment.load(name)` is a running deployment; raises `local.errors.NotDeployedError`.

    deployment.record                 subnet, listen (the public address), ports, issuer, machines' names
    deployment.machines               {name: Machine}; .machine(name); .with_role("secure-proxy" | "mock-servers")
    deployment.terminate(name)        shut a machine down and remove it
    deployment.health()               {"public" | "internal": [TargetHealth]}
    deployment.trust_file()           writes and names the CA file for clients
    deployment.dns.set(name, addr)    answer a name with another address

`local.machine.Machine`:

    machine.run(["systemctl", "is-active", "nginx"])   subprocess.CompletedProcess, as root, inside
    machine.root, .address, .name, .role, .state       its disk seen from the host, and what it is
    machine.journal(unit, lines)                       the journal's end, also of a stopped machine
    machine.stop(); machine.start()                    shut down and boot again, disk kept
    machine.wait_booted()                              the units that failed, when booting is over

The parts stand alone, with typed arguments and no state but on disk: `images.ImageStore` (AMIs), `build.ImageBuilder`
(Image Builder), `machine.Machine` (instances), `balancer.Balancer.apply(listeners)` (NLB and target groups),
`name_server.NameServer` (names).
"""
