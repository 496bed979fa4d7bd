"""How each command of README.md and docs/ is executed: one row for each.

A command without a row, and a row without a command, are red (tests/unit/test_docs_commands.py). To add a command to a
page, write it in the page and add a row here, in the first of these forms that fits:

* `Executed(command, prints)`: a test runs it as it stands, in a folder in which its files lie under the names that the
  pages use (tests/documents/desk.py lists them). `at=Place.RUN` for what needs the folder of a run, or boots a VM.
  `instead` gives other words for some of its own, `add` more words; where less is done than the page says, `narrowed`
  says why.
* `Elsewhere(command, node)`: another test runs it already. Its source, with the helpers that it uses, has to have the
  command's subcommands and options; `through` names a script that it starts, or a page whose lines it executes, which
  has them in its place.
* `NotHere(command, reason, checks)`: nothing here can run it. It is checked as far as it can be, and counted in
  EXCEPTIONS.
"""

from __future__ import annotations

from tests.documents.forms import Check, Elsewhere, Executed, NotHere, Place, Row

#: How many commands nobody executes. Raising it is a decision: say why in the row.
EXCEPTIONS = 38

_ARM64 = "tests/system/test_aarch64_matrix.py::test_every_clause_and_exact_counts"
_DEMO = "tests/system/test_demo.py::test_the_demo_gives_the_right_verdict_in_every_cell"
_BENCH = "tests/system/test_bench.py::"
_GOING_ON = "tests/system/test_going_on.py::"
_KILL = "tests/system/test_kill_matrix.py::test_some_of_each_kind_are_noticed_and_the_sound_hal_conforms"
_IMPORT = "tests/system/test_import.py::test_from_a_disk_to_a_cell"
_BY_HAND = "tests/system/test_ci_pipeline.py::test_the_same_by_hand_as_the_text_says"
_NIGHT = "tests/unit/test_docs_ci.py::test_a_night_is_mailed_with_its_subject_and_posted_with_its_text"
_WORKFLOWS = "tests/unit/test_docs_ci.py::test_every_workflow_in_the_text_is_made"
_CI_PAGE = "docs/ci.md"
_LAB = (
    "tests/system/test_cluster.py::test_a_run_on_two_workers_of_which_one_is_killed_is_complete_and_shows_it"
)
_LISTED = "tests/unit/test_cluster_cli.py::test_the_workers_of_a_lab_are_listed"
_SHELL = "tests/system/test_shell.py::"
_CELLS = "tests/system/test_pytest_cells.py::"
_WHEEL = "tests/system/test_wheel.py::"
_PACKAGES = "takes packages from an index; tests/system/test_wheel.py installs the wheel without one"
_DEBUGGER = "needs a Windows with a debugger; tests/system/test_shell.py connects to the sockets itself"
_SOCKETS = (
    "ci/bootstrap installs neither gdb nor socat; tests/system/test_shell.py connects to the sockets itself"
)
_MEDIUM = "no Windows medium may be here"
_WDK = "no WDK may be here; tests/own_driver/test_wdk_build.py goes the way through a guest with a stand-in"
_IN_WINDOWS = "typed in a Windows guest"
_ADMINISTRATION = "changes the machine of whoever runs the tests"
_PART = "the whole matrix takes minutes, and runs in test_demo.py and by itself"
_VMS = (Check.PARSED, Check.SYNTAX)

ROWS: tuple[Row, ...] = (
    # -- the scripts --
    Elsewhere("ci/demo", _DEMO),
    Elsewhere("ci/demo ci/matrices/aarch64.yaml", _ARM64),
    NotHere("ci/test", "it is what runs this test", (Check.SYNTAX,)),
    Elsewhere("ci/bootstrap", _DEMO, through="ci/demo"),
    Elsewhere("ci/analyse", "tests/driver/test_analysis.py::test_findings"),
    Executed(
        "ci/repeat 20 ci/matrices/aarch64.yaml",
        r"2 of 2 runs alike and clean",
        at=Place.RUN,
        instead={"20 ci/matrices/aarch64.yaml": "2 MATRIX"},
        narrowed="20 runs of a whole matrix take an hour",
    ),
    # -- the host --
    Executed("halpmc doctor", r"accelerator\.x86_64[\s\S]*memory", at=Place.RUN),
    Elsewhere(
        "halpmc doctor --json",
        "tests/system/test_doctor.py::test_the_verdict_about_this_hosts_accelerators_is_true",
    ),
    Executed("halpmc doctor --fresh", r"accelerator\.x86_64[\s\S]*memory", at=Place.RUN),
    Executed("halpmc probe --arch aarch64 --cpu max,pmu=on", r"counting", at=Place.RUN),
    NotHere("adduser USER kvm", _ADMINISTRATION, (Check.SYNTAX,)),
    NotHere("sysctl kernel.nmi_watchdog=0", _ADMINISTRATION, (Check.SYNTAX,)),
    Executed("halpmc probe --cpu max,pmu=on", r"(counting|absent|dead): ", at=Place.RUN),
    Executed("export PATH=$PWD/.venv/bin:$PATH", r""),
    # -- plans --
    Executed("halpmc plan ci/matrices/demo.yaml", r"23 cells"),
    Executed("halpmc plan demo", r"23 cells"),
    Executed("halpmc matrices", r"aarch64[\s\S]*defects[\s\S]*demo"),
    Executed("halpmc schema matrix", r'"properties"'),
    Executed("halpmc schema NAME", r'"properties"', instead={"NAME": "summary"}),
    Executed("halpmc plan ci/matrices/demo.yaml --cell arm64-pmu_on-shared", r"1 of 23 cells"),
    Executed("halpmc plan ci/matrices/demo.yaml -k 'nehalem and not pmu_on'", r"of 23 cells"),
    Executed(
        "halpmc plan ci/matrices/demo.yaml --cells 'pmu=on and guest~embedded and (smp>=2 or without_pmu=grant)'",
        r"of 23 cells",
    ),
    Executed("halpmc plan ci/matrices/demo.yaml --since HEAD", r"expected|nothing"),
    Executed("halpmc plan ci/matrices/demo.yaml --shard 1/3 --json", r'"selection": *"shard 1 of 3'),
    Executed("halpmc plan MATRIX", r"1 cell"),
    Executed("halpmc plan MATRIX --json", r'"schema_version"'),
    # -- runs --
    Elsewhere("halpmc run ci/matrices/demo.yaml", _DEMO, through="ci/demo"),
    Executed(
        "halpmc run ci/matrices/demo.yaml -j 2",
        r"4 of 4 planned results recorded",
        at=Place.RUN,
        add="--cell aarch64-probe-pmu_on --cell aarch64-probe-pmu_off",
        narrowed=_PART,
    ),
    Executed(
        "halpmc run ci/matrices/demo.yaml --cell ID",
        r"2 of 2 planned results recorded",
        at=Place.RUN,
        instead={"ID": "aarch64-probe-pmu_on"},
    ),
    Executed(
        "halpmc run ci/matrices/demo.yaml --strict-baseline",
        r"2 of 2 planned results recorded",
        at=Place.RUN,
        add="--cell aarch64-probe-pmu_on",
        narrowed=_PART,
    ),
    Executed(
        "halpmc run demo",
        r"2 of 2 planned results recorded",
        at=Place.RUN,
        add="--cell aarch64-probe-pmu_on",
        narrowed=_PART,
    ),
    Elsewhere("halpmc run ci/matrices/aarch64.yaml", _ARM64, through="ci/demo"),
    Elsewhere("halpmc run ci/matrices/defects.yaml", _KILL),
    Elsewhere("halpmc run ci/matrices/defects.yaml --cell ID --cell ID", _KILL),
    NotHere(
        "ci/repeat 20 ci/matrices/defects.yaml --cell embedded-exclusive-defect_none "
        "--cell embedded-shared-defect_none",
        "takes a quarter of an hour",
        (Check.SYNTAX,),
    ),
    Executed(
        "halpmc run ci/matrices/demo.yaml --cell aarch64-probe-pmu_on --cell embedded-nehalem-pmu_off-shared-grant",
        r"\[2/2\] [\s\S]*phantom +realised +absent[\s\S]*not Windows\.[\s\S]*exit code 0: all conform\nreport: runs/",
        at=Place.FIRST,
    ),
    Executed("halpmc run MATRIX", r"2 of 2 planned results recorded", at=Place.RUN),
    Executed(
        "halpmc run MATRIX --sequences 1000 --seed $(date -u +%Y%m%d)",
        r"planned results recorded",
        at=Place.RUN,
        instead={"MATRIX": "docs.yaml", "1000": "5"},
        narrowed="1000 sequences take minutes",
    ),
    Elsewhere(
        "halpmc run --resume runs/<folder>",
        f"{_GOING_ON}test_ctrl_c_once_lets_the_running_cell_end_and_the_run_goes_on_later",
    ),
    Elsewhere(
        "halpmc run --resume RUN",
        f"{_GOING_ON}test_a_killed_run_goes_on_and_shows_which_cell_ran_again",
    ),
    Elsewhere(
        "halpmc run --rerun-failed RUN",
        f"{_GOING_ON}test_the_cells_that_failed_run_again_in_a_run_of_their_own",
    ),
    NotHere("halpmc run first-windows.yaml", _MEDIUM, (Check.PARSED, Check.PLANNED)),
    Elsewhere(
        "pytest tests/contract --halpmc-matrix ci/matrices/demo.yaml",
        "tests/system/test_run.py::test_plain_pytest_gives_the_same_results",
    ),
    Executed(
        "pytest tests/contract --halpmc-matrix ci/matrices/demo.yaml --collect-only -q",
        r"\[arm64-pmu_on-shared\]",
    ),
    Executed(
        "halpmc replay runs/<folder>/cells/<id> --test NAME",
        r"1 of 1 planned results recorded: 1 pass",
        at=Place.RUN,
        instead={"NAME": "test_null_is_an_invalid_parameter"},
    ),
    Executed(
        "halpmc replay runs/<folder>/cells/<id> --sequence 'a allocate; a free 1'", r"a free 1", at=Place.RUN
    ),
    Executed(
        "halpmc replay runs/<run>/cells/<id> --sequence 'a allocate; a free 1; a free 1'",
        r"3\D+a free 1",
        at=Place.RUN,
    ),
    NotHere(
        "HALPMC_SEED=… HALPMC_SEQUENCES=… halpmc replay …",
        "the form of a command that reports print whole",
        (Check.SYNTAX,),
    ),
    # -- results --
    Executed("halpmc report runs/<folder>", r"planned results recorded", at=Place.RUN),
    Executed("halpmc report RUN", r"planned results recorded", at=Place.RUN, instead={"RUN": "runs/RUN"}),
    Executed("halpmc history runs", r"\bRUN\b[\s\S]*\bNEW\b|\bNEW\b[\s\S]*\bRUN\b", at=Place.RUN),
    Executed("halpmc compare runs/OLD runs/NEW", r"Cells that are gone", at=Place.RUN),
    Executed("halpmc compare runs/OLD runs/NEW --gate", r"Cells that are gone", at=Place.RUN),
    Executed(
        "halpmc compare docs/compat/<…> runs/RUN",
        r"Nothing is newly violated",
        at=Place.RUN,
        instead={"docs/compat/…": "runs/RUN"},
    ),
    Elsewhere(
        "halpmc serve runs",
        "tests/report/test_report_serve.py::test_the_command_serves_until_it_is_interrupted",
    ),
    Executed("halpmc bundle runs/<folder>", r"\d+ files; redacted", at=Place.RUN),
    Executed("halpmc bundle runs/RUN", r"\d+ files; redacted", at=Place.RUN),
    Executed(
        "halpmc baseline accept runs/<folder>",
        r"\d+ new",
        at=Place.RUN,
        add="--baselines mine",
        narrowed="the project's own baselines stay as they are",
    ),
    Executed(
        "halpmc baseline accept runs/<run>",
        r"\d+ new",
        at=Place.RUN,
        add="--baselines mine",
        narrowed="the project's own baselines stay as they are",
    ),
    Executed("halpmc dump MEMORY.DMP", r"pmctest\.sys is implicated"),
    Executed("halpmc dump FILE", r"pmctest\.sys is implicated", instead={"FILE": "MEMORY.DMP"}),
    Executed("halpmc schema summary", r'"properties"'),
    # -- guests --
    Elsewhere("halpmc guest build embedded", _DEMO, through="ci/demo"),
    Elsewhere("halpmc guest build embedded --arch aarch64", _DEMO, through="ci/demo"),
    Executed("halpmc guest build NAME", r"embedded-[0-9a-f]+", at=Place.RUN, instead={"NAME": "embedded"}),
    Elsewhere(
        "halpmc guest build windows --iso FILE",
        "tests/system/test_windows_setup.py::test_from_a_medium_to_an_image_in_one_command",
    ),
    NotHere(
        "halpmc guest build windows --iso ~/Downloads/SERVER_EVAL_x64FRE_en-us.iso --openssh "
        "~/Downloads/OpenSSH-Win64.zip",
        _MEDIUM,
        _VMS,
    ),
    NotHere(
        'halpmc guest build windows-server-2022 --iso PATH --sha256 HEX --edition "Windows Server 2022 '
        'SERVERDATACENTER"',
        _MEDIUM,
        _VMS,
    ),
    NotHere(
        "halpmc guest build windows-11-arm64 --iso PATH --virtio-iso virtio-win.iso --openssh OpenSSH-ARM64.zip",
        _MEDIUM,
        _VMS,
    ),
    NotHere("halpmc guest build windows --ems", _MEDIUM, _VMS),
    Executed("halpmc guest list", r"win +unchecked"),
    Executed(
        "halpmc guest import win.vhdx --as win --ssh-key id",
        r"guest another is in the store",
        instead={"--as win": "--as another"},
    ),
    Executed(
        "halpmc guest import DISK --as NAME --ssh-key FILE",
        r"guest mine is in the store",
        instead={"NAME": "mine"},
    ),
    Executed(
        "halpmc guest import DISK --as NAME --ssh-key FILE [--user NAME] [--definition NAME|FILE.yaml] "
        "[--format FORMAT] [--sha256 HEX] [--variables FILE]",
        r"guest mine is in the store",
        instead={
            "--as NAME": "--as mine",
            "--user NAME": "--user me",
            "--definition NAME": "--definition embedded",
            "FORMAT": "vhdx",
            "HEX": "$(sha256sum DISK | cut -c-64)",
        },
    ),
    Elsewhere("halpmc guest check win", _IMPORT),
    Elsewhere("halpmc guest check NAME", _IMPORT),
    Executed("halpmc guest show embedded-arm64", r"arch: aarch64\n  state: (?!not built)", at=Place.RUN),
    Elsewhere(
        "halpmc guest import FOLDER/disk.qcow2 --as mine --ssh-key FOLDER/key --definition embedded-arm64",
        "tests/system/test_import.py::test_the_disk_of_the_aarch64_guest_is_one_like_any_other",
    ),
    Executed("halpmc guest show win", r"unchecked"),
    Executed("halpmc guest show NAME", r"unchecked", instead={"NAME": "win"}),
    Executed("halpmc guest rm win", r"removed .*/guests/win"),
    Executed("halpmc guest rm NAME", r"removed .*/guests/win", instead={"NAME": "win"}),
    Executed("halpmc guest gc", r"nothing|0 "),
    # -- drivers --
    Executed("halpmc driver build", r"driver +[0-9a-f]{16}"),
    Executed("halpmc driver build --arch aarch64", r"driver +[0-9a-f]{16}"),
    NotHere("halpmc driver build --toolchain wdk --guest NAME", _WDK, _VMS),
    NotHere(
        "halpmc driver build --toolchain wdk --guest NAME [--ewdk EWDK.iso] [--arch aarch64] [--out wdk]",
        _WDK,
        _VMS,
    ),
    Executed("halpmc driver inspect FILE.sys", r"signature", code=1),
    Executed(
        "halpmc driver inspect FILE.sys [--windows-build 17763] [--arch x86_64] [--json]",
        r'"signature"',
        code=1,
    ),
    Executed("halpmc driver sign FILE.sys", r"signed/FILE\.sys"),
    Executed(
        "halpmc driver sign FILE.sys... [--cert PEM --key PEM] [--out signed] [--json]",
        r'"findings"',
    ),
    Executed("halpmc driver deploy FILE.sys --guest embedded", r"ran as service FILE", at=Place.RUN),
    Executed("halpmc driver deploy mydriver.sys", r"ran as service mydriver", at=Place.RUN),
    Executed(
        "halpmc driver deploy mydriver.sys --guest NAME --service NAME --json",
        r'"unloaded": true',
        at=Place.RUN,
        instead={"--guest NAME": "--guest embedded", "--service NAME": "--service mine"},
    ),
    NotHere("pytest tests/driver -k emul", "these tests run beside this one", (Check.COLLECTED,)),
    # -- what things cost, and defects --
    Elsewhere("halpmc bench clone", f"{_BENCH}test_clone"),
    Elsewhere("halpmc bench clone --json", f"{_BENCH}test_clone"),
    Elsewhere("halpmc bench op --json", f"{_BENCH}test_op"),
    Elsewhere("halpmc bench plan", f"{_BENCH}test_ten_thousand_cells_are_planned_within_two_seconds"),
    Elsewhere("halpmc bench schedule", f"{_BENCH}test_a_schedule_is_measured_against_the_bound"),
    Executed("halpmc bench schedule --run runs/FOLDER -j 2", r"makespan_per_bound", at=Place.RUN),
    NotHere("halpmc bench report --json", "takes minutes", (Check.PARSED,)),
    NotHere("halpmc bench history --json", "takes minutes", (Check.PARSED,)),
    Executed(
        "halpmc bench race race-window",
        r"meetings",
        at=Place.RUN,
        add="-n 2",
        narrowed="100 races take minutes",
    ),
    Executed(
        "halpmc bench race DEFECT",
        r"meetings",
        at=Place.RUN,
        instead={"DEFECT": "free-lost-in-race"},
        add="-n 2",
        narrowed="100 races take minutes",
    ),
    Executed("python -m harness.config.defects", r"double-grant"),
    # -- installed from a wheel --
    NotHere("pipx install halpmc", _PACKAGES, (Check.SYNTAX,)),
    NotHere("pipx uninstall halpmc", _ADMINISTRATION, (Check.SYNTAX,)),
    NotHere("pip install 'halpmc[cluster]'", _PACKAGES, (Check.SYNTAX,)),
    NotHere("pip install 'halpmc[dev]'", _PACKAGES, (Check.SYNTAX,)),
    Elsewhere(".venv/bin/python -m hatchling build -t wheel", f"{_WHEEL}test_it_carries_what_git_has"),
    Elsewhere(
        ".venv/bin/mkdocs build --strict", "tests/unit/test_docs_site.py::test_it_is_built_and_has_every_page"
    ),
    Executed("halpmc docs faults", r"\| fault"),
    Executed("halpmc version --full", r"\+[0-9a-f]{16}"),
    NotHere(
        "halpmc --install-completion",
        "changes the shell's own files; what it installs is what --show-completion prints",
        _VMS,
    ),
    Elsewhere(
        "halpmc --show-completion",
        "tests/unit/test_cli_help.py::test_the_script_for_bash_completes_in_bash",
    ),
    Elsewhere("halpmc run matrix.yaml", f"{_WHEEL}test_a_matrix_of_the_users_own_runs"),
    Elsewhere(
        "pytest --halpmc-matrix matrix.yaml",
        f"{_WHEEL}test_the_plugin_and_the_suite_in_somebody_elses_repository",
    ),
    Elsewhere(
        "pytest --halpmc-matrix matrix.yaml --pyargs harness.suite",
        f"{_WHEEL}test_the_plugin_and_the_suite_in_somebody_elses_repository",
    ),
    Elsewhere(
        "pytest --pyargs harness.suite --halpmc-matrix demo",
        f"{_WHEEL}test_the_plugin_and_the_suite_in_somebody_elses_repository",
    ),
    # -- pytest --
    Executed(
        "pytest --fixtures",
        r"fresh_guest",
        add="tests/contract",
        narrowed="the other tests beside it are the project's own",
    ),
    Executed(
        "pytest test_mine.py --halpmc-matrix ci/matrices/demo.yaml -k 'embedded and refuse'",
        r"test_the_routines_are_there\[embedded-nehalem-pmu_off-shared-refuse\]",
        add="--collect-only -q",
        narrowed="tests/system/test_pytest_cells.py runs them",
    ),
    Elsewhere(
        "pytest tests/contract --halpmc-matrix ci/matrices/demo.yaml -n 2",
        f"{_CELLS}test_workers_of_xdist_take_whole_cells_of_one_run",
    ),
    Elsewhere(
        "pytest tests/contract --halpmc-matrix ci/matrices/demo.yaml --halpmc-pause-on-failure",
        f"{_CELLS}test_pausing_at_a_failure",
    ),
    Elsewhere(
        "pytest tests/contract --halpmc-matrix ci/matrices/demo.yaml --halpmc-keep=failed",
        f"{_CELLS}test_keeping_the_vm_of_the_first_failure",
    ),
    # -- a VM at one's desk --
    Elsewhere("halpmc shell embedded", f"{_SHELL}test_a_shell_at_a_terminal"),
    Elsewhere("halpmc attach FOLDER/monitor.sock", f"{_SHELL}test_a_shell_at_a_terminal"),
    Elsewhere("halpmc shell embedded --gdb", f"{_SHELL}test_ports_for_debuggers_and_ctrl_c"),
    Elsewhere(
        "halpmc shell arm64-pmu_on-shared --matrix ci/matrices/demo.yaml",
        f"{_SHELL}test_a_command_with_files_in_a_cell_of_a_matrix",
    ),
    Executed(
        "halpmc shell runs/<run>/cells/<id>",
        r"Windows 10\.0",
        at=Place.RUN,
        add="-- ver",
        narrowed="nobody is here to type; tests/system/test_shell.py does, at a terminal",
    ),
    Executed(
        "halpmc shell runs/<folder>/cells/<id> -- COMMAND",
        r"Windows 10\.0",
        at=Place.RUN,
        instead={"COMMAND": "ver"},
    ),
    NotHere("gdb -ex 'target remote /tmp/halpmc-shell-…/gdb.sock'", _SOCKETS, (Check.SYNTAX,)),
    NotHere("socat TCP-LISTEN:1234,bind=127.0.0.1 UNIX-CONNECT:gdb.sock", _SOCKETS, (Check.SYNTAX,)),
    NotHere(
        "socat TCP-LISTEN:5555,bind=127.0.0.1 UNIX-CONNECT:/tmp/halpmc-shell-…/kd.sock",
        _SOCKETS,
        (Check.SYNTAX,),
    ),
    NotHere("windbg -k com:ipport=5555,port=127.0.0.1", _DEBUGGER, (Check.SYNTAX,)),
    NotHere("windbg -k net:port=50000,key=1.2.3.4", _DEBUGGER, (Check.SYNTAX,)),
    NotHere(
        "qemu-system-x86_64 … -netdev stream,id=kd,server=off,addr.type=unix,addr.path=kd.sock -device "
        "e1000e,netdev=kd",
        _DEBUGGER,
        (Check.SYNTAX,),
    ),
    # -- every night, shards --
    Elsewhere(
        "halpmc nightly ci/matrices/demo.yaml --runs-dir runs",
        "tests/system/test_ci_pipeline.py::test_two_nights_by_cron",
    ),
    Executed(
        "halpmc nightly ci/matrices/demo.yaml --keep 60",
        r"all conform",
        at=Place.RUN,
        add="--cell aarch64-probe-pmu_on",
        narrowed=_PART,
    ),
    Elsewhere(
        "cd /srv/halpmc; .venv/bin/halpmc nightly ci/matrices/demo.yaml --keep 60 --mail >night.eml 2>night.log; "
        "code=$?; sendmail team@example.org <night.eml; exit $code",
        _NIGHT,
        through=_CI_PAGE,
    ),
    Elsewhere(
        "curl --silent --fail -H 'Content-Type: application/json' --data @night.json https://chat.example/hook",
        _NIGHT,
        through=_CI_PAGE,
    ),
    Elsewhere(
        "halpmc ci github ci/matrices/demo.yaml --shards 4 --cron '17 2 * * *'",
        _WORKFLOWS,
        through=_CI_PAGE,
    ),
    Elsewhere(
        "halpmc ci github ci/matrices/demo.yaml --shards 2 --pull-request", _WORKFLOWS, through=_CI_PAGE
    ),
    Elsewhere(
        "halpmc ci gitlab ci/matrices/demo.yaml --shards 4 --cron '17 2 * * *' --label kvm",
        _WORKFLOWS,
        through=_CI_PAGE,
    ),
    Elsewhere(
        "halpmc ci jenkins ci/matrices/demo.yaml --shards 4 --label kvm -o build/Jenkinsfile",
        _WORKFLOWS,
        through=_CI_PAGE,
    ),
    Elsewhere("halpmc plan … --json", _BY_HAND, through=_CI_PAGE),
    Elsewhere("halpmc run … --shard K/N --costs plan.json", _BY_HAND, through=_CI_PAGE),
    Elsewhere("halpmc plan ci/matrices/demo.yaml --json > build/plan.json", _BY_HAND, through=_CI_PAGE),
    Elsewhere(
        "halpmc run ci/matrices/demo.yaml --shard 1/2 --costs build/plan.json --runs-dir build/shards",
        _BY_HAND,
        through=_CI_PAGE,
    ),
    Elsewhere(
        "halpmc run ci/matrices/demo.yaml --shard 2/2 --costs build/plan.json --runs-dir build/shards",
        _BY_HAND,
        through=_CI_PAGE,
    ),
    Elsewhere(
        "run=$(halpmc merge build/shards --plan build/plan.json --into runs)", _BY_HAND, through=_CI_PAGE
    ),
    Elsewhere('halpmc annotate "$run" --format github', _BY_HAND, through=_CI_PAGE),
    Elsewhere("halpmc merge shards --into runs", _BY_HAND, through=_CI_PAGE),
    Elsewhere("halpmc annotate runs/<folder>", _BY_HAND, through=_CI_PAGE),
    # -- a lab --
    Elsewhere("dask scheduler --host tcp://10.9.0.1 --no-dashboard", _LAB),
    Elsewhere("halpmc worker tcp://10.9.0.1:8786", _LAB),
    Elsewhere("halpmc worker tcp://LAB:8786", _LAB),
    Elsewhere("halpmc worker tcp://10.9.0.1:8786 --list", _LISTED),
    Elsewhere("halpmc run MATRIX --executor dask --scheduler tcp://10.9.0.1:8786", _LAB),
    Elsewhere("halpmc run MATRIX --executor dask --scheduler tcp://LAB:8786", _LAB),
    NotHere("adduser --system --group halpmc", _ADMINISTRATION, (Check.SYNTAX,)),
    Executed(
        "install -m 0644 ci/lab/halpmc-worker.service /etc/systemd/system/",
        r"",
        instead={"/etc/systemd/system/": "halpmc-worker.service"},
    ),
    Executed(
        "install -D -m 0640 -g halpmc ci/lab/lab.env.example /etc/halpmc/lab.env",
        r"",
        instead={"-g halpmc ": "", "/etc/": "etc/"},
        narrowed="no group is made on this machine",
    ),
    NotHere("systemctl enable --now halpmc-worker", _ADMINISTRATION, (Check.SYNTAX,)),
    NotHere("journalctl -u halpmc-worker -f", "the unit runs on no machine of the tests", (Check.SYNTAX,)),
    # -- typed elsewhere --
    NotHere("bcdedit /debug on", _IN_WINDOWS, (Check.SYNTAX,)),
    NotHere("bcdedit /dbgsettings serial debugport:3 baudrate:115200", _IN_WINDOWS, (Check.SYNTAX,)),
    NotHere(
        "bcdedit /dbgsettings net hostip:169.254.1.1 port:50000 key:1.2.3.4 nodhcp",
        _IN_WINDOWS,
        (Check.SYNTAX,),
    ),
    NotHere('bcdedit /set "{dbgsettings}" busparams 0.16.0', _IN_WINDOWS, (Check.SYNTAX,)),
    NotHere("shutdown /r /t 0", _IN_WINDOWS, (Check.SYNTAX,)),
    NotHere("bcdedit /ems on", _IN_WINDOWS, (Check.SYNTAX,)),
    NotHere("bcdedit /emssettings EMSPORT:1 EMSBAUDRATE:115200", _IN_WINDOWS, (Check.SYNTAX,)),
    NotHere("bcdedit /set testsigning on", _IN_WINDOWS, (Check.SYNTAX,)),
    NotHere("bcdedit /set groupsize N", _IN_WINDOWS, (Check.SYNTAX,)),
)
