//! The services of a collector by gRPC, as tonic serves them: it reads the frames, opens what is
//! compressed and refuses what is no call. The sockets and HTTP/2 are hyper's.

use std::convert::Infallible;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::net::TcpListener;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::codegen::{Service as _, async_trait};

use super::otlp_receiver::Keeper;

pub(super) async fn accept(listener: TcpListener, keeper: Keeper) {
    while let Ok((stream, _)) = listener.accept().await {
        let keeper = keeper.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| serve(keeper.clone(), request));
            let connection = http2::Builder::new(TokioExecutor::new());
            let _ended = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn serve(keeper: Keeper, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let gzip = CompressionEncoding::Gzip;
    match request.uri().path().split('/').nth(1) {
        Some("opentelemetry.proto.collector.trace.v1.TraceService") => {
            TraceServiceServer::new(keeper).accept_compressed(gzip).call(request).await
        }
        Some("opentelemetry.proto.collector.metrics.v1.MetricsService") => {
            MetricsServiceServer::new(keeper).accept_compressed(gzip).call(request).await
        }
        Some("opentelemetry.proto.collector.logs.v1.LogsService") => {
            LogsServiceServer::new(keeper).accept_compressed(gzip).call(request).await
        }
        _ => Ok(Status::unimplemented("there is no such service").into_http()),
    }
}

#[async_trait]
impl TraceService for Keeper {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        let headers = request.metadata().clone().into_headers();
        self.spans(headers, request.into_inner());
        Ok(tonic::Response::new(Default::default()))
    }
}

#[async_trait]
impl MetricsService for Keeper {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, Status> {
        let headers = request.metadata().clone().into_headers();
        self.figures(headers, request.into_inner());
        Ok(tonic::Response::new(Default::default()))
    }
}

#[async_trait]
impl LogsService for Keeper {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, Status> {
        let headers = request.metadata().clone().into_headers();
        self.lines(headers, request.into_inner());
        Ok(tonic::Response::new(Default::default()))
    }
}
