//! A DNS server for tests: what it knows may change at any moment, and it may fall silent.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    #[default]
    Well,
    /// Every question is answered with a failure.
    Failing,
}

#[derive(Default)]
struct Zone {
    records: BTreeMap<String, Vec<RData>>,
    mood: Mood,
    asked: usize,
}

/// A running server. Ends with the test's runtime.
pub struct DnsServer {
    pub address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

impl DnsServer {
    pub async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone: Arc<Mutex<Zone>> = Arc::default();
        let serving = zone.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((read, from)) = socket.recv_from(&mut buffer).await {
                let Ok(question) = Message::from_vec(&buffer[..read]) else { continue };
                let answer = serving.lock().unwrap().answer(&question);
                let _ = socket.send_to(&answer.to_vec().unwrap(), from).await;
            }
        });
        Self { address, zone }
    }

    pub fn txt(&self, name: &str, text: &str) {
        self.set(name, RData::TXT(TXT::new(vec![text.to_owned()])));
    }

    /// Beside what the name has.
    pub fn txt_too(&self, name: &str, text: &str) {
        let mut zone = self.zone.lock().unwrap();
        let records = zone.records.entry(name.to_ascii_lowercase()).or_default();
        records.push(RData::TXT(TXT::new(vec![text.to_owned()])));
    }

    pub fn cname(&self, name: &str, target: &str) {
        self.set(name, RData::CNAME(CNAME(absolute(target))));
    }

    pub fn a(&self, name: &str, address: Ipv4Addr) {
        self.set(name, RData::A(A(address)));
    }

    /// Everything of that name is gone.
    pub fn forget(&self, name: &str) {
        self.zone.lock().unwrap().records.remove(name);
    }

    pub fn mood(&self, mood: Mood) {
        self.zone.lock().unwrap().mood = mood;
    }

    /// How many questions came.
    pub fn asked(&self) -> usize {
        self.zone.lock().unwrap().asked
    }

    fn set(&self, name: &str, data: RData) {
        let mut zone = self.zone.lock().unwrap();
        let records = zone.records.entry(name.to_ascii_lowercase()).or_default();
        records.retain(|old| old.record_type() != data.record_type());
        records.push(data);
    }
}

impl Zone {
    /// As a resolver does: an alias is followed.
    fn answer(&mut self, question: &Message) -> Message {
        self.asked += 1;
        let mut answer = question.clone();
        answer.metadata.message_type = MessageType::Response;
        answer.metadata.recursion_available = true;
        answer.edns = None;
        if self.mood == Mood::Failing {
            answer.metadata.response_code = ResponseCode::ServFail;
            return answer;
        }
        let Some(query) = question.queries.first() else { return answer };
        let mut name = query.name.clone();
        let mut exists = false;
        for _ in 0..8 {
            let Some(records) = self.records.get(&plain(&name)) else { break };
            exists = true;
            let wanted: Vec<&RData> =
                records.iter().filter(|data| data.record_type() == query.query_type).collect();
            for data in &wanted {
                answer.add_answer(Record::from_rdata(name.clone(), 1, (*data).clone()));
            }
            let alias = records.iter().find_map(|data| match data {
                RData::CNAME(target) => Some(target.0.clone()),
                _ => None,
            });
            match alias.filter(|_| wanted.is_empty() && query.query_type != RecordType::CNAME) {
                Some(target) => {
                    answer.add_answer(Record::from_rdata(name, 1, RData::CNAME(CNAME(target.clone()))));
                    name = target;
                }
                None => break,
            }
        }
        if !exists {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        answer
    }
}

fn absolute(name: &str) -> Name {
    Name::from_ascii(format!("{}.", name.trim_end_matches('.'))).unwrap()
}

fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}
