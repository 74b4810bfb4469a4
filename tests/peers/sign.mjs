// Signs bodies as Stripe does, with Stripe's own library. Reads {"secret": "whsec_..", "bodies": ["..."]} from
// stdin and prints the `Stripe-Signature` headers, made now, as one JSON array. Throws when Stripe's library
// would not take a body under its header.
import { readFileSync } from "node:fs";
import Stripe from "stripe";

const stripe = new Stripe("sk_test_nobody");
const { secret, bodies } = JSON.parse(readFileSync(0, "utf8"));
const headers = bodies.map((payload) => {
  const header = stripe.webhooks.generateTestHeaderString({ payload, secret });
  stripe.webhooks.constructEvent(payload, header, secret);
  return header;
});
process.stdout.write(JSON.stringify(headers));
