//! Compiles the lab's test token and keeps the committed artefact honest.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{process, tools};

const SOURCE: &str = "chain/contracts/TestUsdc.sol";
const ARTEFACT: &str = "chain/contracts/TestUsdc.json";
const CONTRACT: &str = "TestUsdc";

/// The whole of our JavaScript: standard JSON in, standard JSON out.
const COMPILE: &str = "const solc = require('solc'); let text = ''; \
    process.stdin.on('data', (part) => { text += part; }); \
    process.stdin.on('end', () => { process.stdout.write(solc.compile(text)); });";

/// Writes the artefact; with `--check` fails when it is not what the source compiles to.
pub fn run(arguments: &[String]) -> Result<()> {
    let check = match arguments {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => bail!("usage: cargo xtask solidity [--check]"),
    };
    tools::install()?;
    let path = process::root().join(ARTEFACT);
    let artefact = format!("{}\n", serde_json::to_string_pretty(&compile()?)?);
    if !check {
        fs::write(&path, artefact)?;
        eprintln!("xtask: wrote {ARTEFACT}");
    } else if fs::read_to_string(&path).unwrap_or_default() != artefact {
        bail!("{ARTEFACT} is not what {SOURCE} compiles to: run `cargo xtask solidity` and commit");
    }
    Ok(())
}

fn compile() -> Result<Value> {
    let source = fs::read_to_string(process::root().join(SOURCE)).context(SOURCE)?;
    let outputs = ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"];
    let request = json!({
        "language": "Solidity",
        "sources": { SOURCE: { "content": source } },
        "settings": {
            "optimizer": { "enabled": true, "runs": 200 },
            "evmVersion": "cancun",
            // No hash of the sources in the code: comments may change without changing it.
            "metadata": { "bytecodeHash": "none", "appendCBOR": false },
            "outputSelection": { "*": { "*": outputs } },
        },
    });
    let answer: Value =
        serde_json::from_str(&solc(&request.to_string())?).context("solc did not print JSON")?;
    let problems: Vec<&str> = answer["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|e| e["formattedMessage"].as_str())
        .collect();
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    let contract = &answer["contracts"][SOURCE][CONTRACT];
    let code = |kind: &str| -> Result<String> {
        let object =
            contract["evm"][kind]["object"].as_str().with_context(|| format!("solc gave no {kind}"))?;
        Ok(format!("0x{object}"))
    };
    Ok(json!({
        "contractName": CONTRACT,
        "compiler": {
            "name": "solc",
            "version": tools::version("solc"),
            "evmVersion": "cancun",
            "optimizerRuns": 200,
        },
        "abi": contract["abi"],
        "bytecode": code("bytecode")?,
        "deployedBytecode": code("deployedBytecode")?,
    }))
}

fn solc(request: &str) -> Result<String> {
    let mut child = Command::new("node")
        .args(["-e", COMPILE])
        .env("NODE_PATH", tools::modules("solc"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start node")?;
    child.stdin.take().context("node has no input")?.write_all(request.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("solc failed ({})", output.status);
    }
    String::from_utf8(output.stdout).context("solc did not print text")
}
