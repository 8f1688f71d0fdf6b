//! The same answers with an error code wherever one can stand.

use kafka_protocol::messages::api_versions_response::ApiVersionsResponse;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    CreateTopicsResponse, DescribeConfigsResponse, FetchResponse, InitProducerIdResponse,
    ListOffsetsResponse, ProduceResponse, SaslAuthenticateResponse, SaslHandshakeResponse,
};

use super::frame::{EncodeError, frame};
use super::{Answer, metadata, small, text};
use crate::target::cluster::Cluster;
use crate::target::code::{self, Code};
use crate::target::request::{Header, Request, Sasl};

/// Nothing of the request is done.
pub(super) fn answer(
    cluster: &Cluster,
    header: &Header,
    request: &Request,
    code: Code,
) -> Result<Answer, EncodeError> {
    let bytes = match request {
        Request::ApiVersions { .. } => frame(header, &ApiVersionsResponse::default().with_error_code(code)),
        Request::Metadata(asked) => {
            let mut answer = metadata::answer(cluster, header.version, asked);
            for topic in &mut answer.topics {
                topic.error_code = code;
                topic.partitions.clear();
            }
            frame(header, &answer)
        }
        Request::InitProducerId(_) => {
            let answer = InitProducerIdResponse::default().with_producer_id((-1).into());
            frame(header, &answer.with_producer_epoch(-1).with_error_code(code))
        }
        Request::Produce(produce) => {
            let topics = produce.topics.iter().map(|(topic, partitions)| {
                let row = |index| PartitionProduceResponse::default().with_index(index).with_error_code(code);
                let rows = partitions.iter().map(|p| row(p.index).with_base_offset(-1)).collect();
                TopicProduceResponse::default().with_name(text(topic).into()).with_partition_responses(rows)
            });
            frame(header, &ProduceResponse::default().with_responses(topics.collect()))
        }
        Request::CreateTopics(create) => {
            let row =
                |name| CreatableTopicResult::default().with_name(text(name).into()).with_error_code(code);
            let rows = create.topics.iter().map(|topic| row(&topic.name)).collect();
            frame(header, &CreateTopicsResponse::default().with_topics(rows))
        }
        Request::Fetch(fetch) => {
            let topics = fetch.topics.iter().map(|(topic, partitions)| {
                let row = |index| PartitionData::default().with_partition_index(index).with_error_code(code);
                let rows = partitions.iter().map(|p| row(p.index).with_high_watermark(-1)).collect();
                FetchableTopicResponse::default().with_topic(text(topic).into()).with_partitions(rows)
            });
            frame(header, &FetchResponse::default().with_responses(topics.collect()))
        }
        Request::ListOffsets(list) => {
            let topics = list.topics.iter().map(|(topic, partitions)| {
                let row = |index| ListOffsetsPartitionResponse::default().with_partition_index(index);
                let rows = partitions.iter().map(|p| row(p.index).with_error_code(code).with_offset(-1));
                ListOffsetsTopicResponse::default()
                    .with_name(text(topic).into())
                    .with_partitions(rows.collect())
            });
            frame(header, &ListOffsetsResponse::default().with_topics(topics.collect()))
        }
        Request::DescribeConfigs(asked) => {
            let results = asked.resources.iter().map(|r| {
                let row = DescribeConfigsResult::default().with_resource_type(r.kind);
                row.with_resource_name(text(&r.name)).with_error_code(code)
            });
            frame(header, &DescribeConfigsResponse::default().with_results(results.collect()))
        }
        Request::Sasl(Sasl::Handshake) => {
            frame(header, &SaslHandshakeResponse::default().with_error_code(code))
        }
        Request::Sasl(Sasl::Authenticate) => {
            frame(header, &SaslAuthenticateResponse::default().with_error_code(code))
        }
        Request::FindCoordinator => frame(header, &small::find_coordinator(header.version)),
    };
    cluster.count(|c| c.refused += u64::from(code != code::NONE));
    bytes.map(Answer::now)
}
