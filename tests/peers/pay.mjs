// Pays POST /tiers/v1/<tier> with the published x402 client, unmodified. Prints one JSON object.
//   node pay.mjs <api base> <tier> <0x private key>
import { randomBytes } from "node:crypto";
import { wrapFetchWithPaymentFromConfig, decodePaymentResponseHeader } from "@x402/fetch";
import { ExactEvmScheme } from "@x402/evm";
import { privateKeyToAccount } from "viem/accounts";

const [api, tier, key] = process.argv.slice(2);
const account = privateKeyToAccount(key);
const uri = `${api}/tiers/v1/${tier}`;
const fields = {
  domain: new URL(api).hostname,
  address: account.address,
  statement: "Sign in to Run402",
  uri,
  version: "1",
  chainId: "eip155:84532",
  type: "eip191",
  nonce: randomBytes(16).toString("hex"),
  issuedAt: new Date().toISOString(),
  expirationTime: new Date(Date.now() + 300_000).toISOString(),
};
const text = [
  `${fields.domain} wants you to sign in with your Ethereum account:`,
  fields.address, "", fields.statement, "",
  `URI: ${fields.uri}`, "Version: 1", "Chain ID: 84532", `Nonce: ${fields.nonce}`,
  `Issued At: ${fields.issuedAt}`, `Expiration Time: ${fields.expirationTime}`,
].join("\n");
const signature = await account.signMessage({ message: text });
const siwx = Buffer.from(JSON.stringify({ ...fields, signature })).toString("base64");

const pay = wrapFetchWithPaymentFromConfig(fetch, {
  schemes: [{ network: "eip155:84532", client: new ExactEvmScheme(account) }],
});
const answer = await pay(uri, {
  method: "POST",
  headers: { "content-type": "application/json", "sign-in-with-x": siwx },
  body: "{}",
});
const receipt = answer.headers.get("payment-response");
console.log(JSON.stringify({
  status: answer.status,
  body: await answer.json(),
  receipt: receipt && decodePaymentResponseHeader(receipt),
}));
